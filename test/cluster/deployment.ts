import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { inNamespace, run, waitFor } from "../../cluster/commands.ts";
import { CLIENT, NODE } from "../../cluster/layout.ts";
import { HELM } from "../helm-program.ts";
import { LAYOUT, releaseOf } from "./cluster.ts";

const root = join(import.meta.dirname, "../..");
const release = await releaseOf();

/**
 * A user's shell beside the cluster, with a workspace and a namespace of its own: `kubectl` and `contrast` are in its path.
 * Everything is typed on the client's machine but `contrast generate`, which reads the registry of the node.
 */
export class Shell {
  readonly namespace: string;
  /** The working directory, and the CLI's workspace. */
  readonly folder: string;
  readonly #bin: string;
  readonly #kubeconfig: string;

  private constructor(namespace: string, folder: string) {
    this.namespace = namespace;
    this.folder = join(folder, "workspace");
    this.#bin = join(folder, "bin");
    this.#kubeconfig = join(folder, "kubeconfig");
  }

  /** Makes the namespace. */
  static async open(namespace: string, labels: Readonly<Record<string, string>> = {}): Promise<Shell> {
    const folder = await mkdtemp(join(tmpdir(), `contrast-cluster-${namespace}-`));
    const shell = new Shell(namespace, folder);
    await mkdir(shell.folder);
    await mkdir(shell.#bin);
    const config = JSON.parse(await readFile(LAYOUT.kubeconfig, "utf8")) as { contexts: { context: object }[] };
    for (const { context } of config.contexts) Object.assign(context, { namespace });
    await writeFile(shell.#kubeconfig, JSON.stringify(config));
    const program = async (name: string, text: string): Promise<void> =>
      writeFile(join(shell.#bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    const enter = (network: string): string => `exec nsenter --net=/run/netns/${network}`;
    await program("kubectl", `${enter(CLIENT.namespace)} ${LAYOUT.bin}/kubectl --kubeconfig=${shell.#kubeconfig} "$@"`);
    await program("helm", `${enter(CLIENT.namespace)} ${HELM} --kubeconfig=${shell.#kubeconfig} "$@"`);
    const contrast = `${process.execPath} ${join(root, "cli/main.ts")} "$@"`;
    await program(
      "contrast",
      `case "$1" in generate) ${enter(NODE.namespace)} ${contrast};; *) ${enter(CLIENT.namespace)} ${contrast};; esac`,
    );
    const resource = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels } };
    await shell.apply(resource);
    // Until then no pod is admitted.
    await waitFor("there is a service account", 30, async () => shell.kubectl("get", "serviceaccount", "default"));
    return shell;
  }

  /** Removes the namespace with all that is in it, and the workspace. */
  async close(): Promise<void> {
    await this.kubectl("delete", "namespace", this.namespace, "--wait=false", "--ignore-not-found");
    await rm(dirname(this.folder), { recursive: true });
  }

  /** Runs a script of bash to its end. @returns what it writes. @throws with its error output where it fails */
  async run(script: string): Promise<string> {
    return run(
      ...inNamespace(CLIENT.namespace, ["bash", "-euo", "pipefail", "-c", `cd "$0" && ${script}`, this.folder]),
      {
        ...process.env,
        PATH: `${this.#bin}:${process.env["PATH"] ?? ""}`,
        CONTRAST_INSECURE: "1",
        RELEASE: released(),
      },
    );
  }

  /** @returns what a script that has to fail writes to the error output */
  async fail(script: string): Promise<string> {
    const failed = await this.run(script).then(
      (stdout) => {
        throw new Error(`this did not fail: ${script}\n${stdout}`);
      },
      (error: { stderr?: string }) => error,
    );
    if (failed.stderr === undefined) throw failed;
    return failed.stderr;
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    return run(join(this.#bin, "kubectl"), args);
  }

  /** Applies resources of this namespace, each as JSON. */
  async apply(...resources: readonly object[]): Promise<void> {
    await this.write("resources.json", JSON.stringify({ apiVersion: "v1", kind: "List", items: resources }));
    await this.kubectl("apply", "-f", join(this.folder, "resources.json"));
    await rm(join(this.folder, "resources.json"));
  }

  /** Writes a file into the workspace. */
  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text);
  }

  async read(name: string): Promise<string> {
    return readFile(join(this.folder, name), "utf8");
  }
}

/**
 * Deploys resources beside a Coordinator of the workspace: generate, apply, set. Does not wait for the pods.
 *
 * @param flags of `contrast generate`
 */
export async function deploy(shell: Shell, resources: readonly object[], flags = ""): Promise<void> {
  await mkdir(join(shell.folder, "deployment"), { recursive: true });
  await shell.write(
    "deployment/resources.json",
    JSON.stringify({ apiVersion: "v1", kind: "List", items: resources }, undefined, 2),
  );
  await copyFile(released("coordinator.yml"), join(shell.folder, "deployment", "coordinator.yml"));
  await shell.run(`kubectl apply -f ${released("runtime-simulated.yml")}
${GENERATE} ${flags}
kubectl apply -f simulated-tee.json -f deployment/
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator --timeout=60s
${RUNNING}
for try in $(seq 20); do contrast set -c "$(${COORDINATOR})" deployment/ && break; sleep 1; done
kubectl rollout status deployment/coordinator --timeout=120s
contrast verify -c "$(${COORDINATOR})"`);
}

/** Commands: waits until all Coordinators run, which are not ready before there is a manifest. */
export const RUNNING = `kubectl wait --for=jsonpath='{.status.replicas}'=3 deployment/coordinator --timeout=60s
kubectl wait --for=jsonpath='{.status.phase}'=Running pod -l app.kubernetes.io/name=coordinator --timeout=120s`;

/** Commands: generates the workspace's deployment; prints the Coordinator's address. */
export const GENERATE = `contrast generate --reference-values simulated --image-replacements "$RELEASE/image-replacements.txt" deployment/`;
export const COORDINATOR = "kubectl get svc coordinator -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'";

/** A file of the release whose images the registry of the node has. */
export function released(...path: readonly string[]): string {
  return join(release, ...path);
}
