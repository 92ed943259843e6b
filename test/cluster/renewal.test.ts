import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { inNamespace, waitFor } from "../../cluster/commands.ts";
import { CLIENT } from "../../cluster/layout.ts";
import { describeOnCluster } from "./cluster.ts";
import { COORDINATOR, GENERATE, released, RUNNING, Shell } from "./deployment.ts";

/**
 * The demo, whose pods renew their certificates, while its manifest is set and its pods are replaced. Every request goes
 * through web to emoji or voting, by mutual TLS.
 */

const DEMO = join(import.meta.dirname, "../../demo/deployment");
const APPS = ["emoji", "voting", "web", "vote-bot"];
const PER_SECOND = 10;
const PATHS = ["/api/list", "/api/leaderboard"];

const ROLLOUT = `for app in ${APPS.join(" ")}; do kubectl rollout status deployment/$app --timeout=170s; done`;

interface Manifest {
  readonly Policies: Readonly<Record<string, { readonly SANs: string[] }>>;
}

interface Visits {
  readonly made: number;
  readonly failures: readonly string[];
}

/** A deployment of the demo in a namespace of its own. */
class Demo {
  readonly shell: Shell;
  #address = "";

  private constructor(shell: Shell) {
    this.shell = shell;
  }

  /** @param annotations of all its Deployments @param keys of the manifest */
  static async deploy(name: string, annotations: Readonly<Record<string, string>>, keys: object): Promise<Demo> {
    const demo = new Demo(await Shell.open(name));
    try {
      await demo.#begin(annotations, keys);
    } catch (error) {
      // What is left of it would take the node's room from the tests that follow.
      await demo.shell.close();
      throw error;
    }
    return demo;
  }

  async #begin(annotations: Readonly<Record<string, string>>, keys: object): Promise<void> {
    const { shell } = this;
    await mkdir(join(shell.folder, "deployment"));
    for (const app of APPS) {
      await shell.write(
        `deployment/${app}.yml`,
        annotated(await readFile(join(DEMO, `${app}.yml`), "utf8"), annotations),
      );
    }
    await copyFile(released("coordinator.yml"), join(shell.folder, "deployment", "coordinator.yml"));
    await shell.run(`kubectl apply -f ${released("runtime-simulated.yml")}\n${GENERATE}`);
    await this.edit((manifest) => Object.assign(manifest, keys));
    await this.types(`kubectl apply -f simulated-tee.json -f deployment/
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator service/web-svc --timeout=60s
${RUNNING}
for try in $(seq 20); do contrast set -c "COORDINATOR" deployment/ && break; sleep 1; done
kubectl rollout status deployment/coordinator --timeout=120s
contrast verify -c "COORDINATOR"
${ROLLOUT}`);
    const service = "kubectl get svc web-svc -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'";
    this.#address = (await shell.run(service)).trim();
    await this.serves();
  }

  async types(script: string): Promise<string> {
    return this.shell.run(script.replaceAll("COORDINATOR", `$(${COORDINATOR})`));
  }

  async edit(change: (manifest: Manifest) => void): Promise<void> {
    const manifest = JSON.parse(await this.shell.read("manifest.json")) as Manifest;
    change(manifest);
    await this.shell.write("manifest.json", JSON.stringify(manifest, undefined, 2));
  }

  /** Sets a manifest that grants web a name more, and takes nothing. */
  async set(name: string, flags = ""): Promise<string> {
    await this.edit(({ Policies }) => {
      const web = Object.values(Policies).find(({ SANs }) => SANs.includes("web"));
      web?.SANs.push(name);
    });
    return this.types(`contrast set ${flags} -c "COORDINATOR" deployment/`);
  }

  async replacePods(...apps: readonly string[]): Promise<void> {
    await this.shell.run(`kubectl rollout restart ${apps.map((app) => `deployment/${app}`).join(" ")}\n${ROLLOUT}`);
    // The last old pods are asked to end when the new ones are ready.
    await sleep(8000);
  }

  /** Waits until both backends answer. */
  async serves(): Promise<void> {
    const to = `--connect-to web:443:${this.#address}:443 https://web`;
    const page = `curl -sSf -m 5 --cacert verify/coordinator-root-ca.pem ${to}`;
    for (const path of PATHS) await waitFor(`${path} answers`, 60, async () => this.shell.run(`${page}${path}`));
  }

  /** Asks for the page's data while something is done. The root CA stays, whatever is set. */
  async visiting(disturb: () => Promise<void>): Promise<Visits> {
    const program = [process.execPath, join(import.meta.dirname, "visitor.ts")];
    const ca = join(this.shell.folder, "verify", "coordinator-root-ca.pem");
    const wanted = [this.#address, "443", "web", ca, `${PER_SECOND}`, ...PATHS];
    const [file, args] = inNamespace(CLIENT.namespace, [...program, ...wanted]);
    const visitor = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
    const output = text(visitor.stdout);
    await once(visitor.stderr, "data");
    try {
      await disturb();
    } finally {
      visitor.kill("SIGTERM");
    }
    return JSON.parse(await output) as Visits;
  }

  /** Of the Initializers of all pods. */
  async logs(): Promise<string> {
    return this.shell.run(APPS.map((app) => `kubectl logs deployment/${app} -c contrast-initializer`).join("\n"));
  }
}

/** The backends first, and web when the old ones are gone: what is old and what is new have to connect to each other. */
async function replaceAll(demo: Demo): Promise<void> {
  await demo.replacePods("emoji", "voting");
  await demo.replacePods("web", "vote-bot");
}

describeOnCluster("certificates renewed while the demo serves", () => {
  let demo: Demo;

  beforeAll(async () => {
    demo = await Demo.deploy("renewal", { renew: "true" }, { MeshCAOverlap: "10m" });
    expect(await demo.shell.read("manifest.json")).toContain('"CertificateLifetime": "24h"');
  }, 400_000);

  afterAll(async () => demo.shell.close());

  test("with a window, a set and a rollout after it lose not one request", async () => {
    const { made, failures } = await demo.visiting(async () => {
      const result = await demo.set("first.example");
      expect(result).toContain("earlierCertificatesUntil");
      expect(result).toContain("nothing: all pods renew their certificates");
      // What runs changes to its new certificates by itself,
      await sleep(45_000);
      expect(await demo.logs()).toContain("the new certificate is shown when that has settled");
      // and is replaced.
      await replaceAll(demo);
    });
    expect(failures).toEqual([]);
    expect(made).toBeGreaterThan(50 * PER_SECOND);
  }, 400_000);

  test("a rollout at once after the set loses none, either: new pods wait until the others know their mesh CA", async () => {
    const { made, failures } = await demo.visiting(async () => {
      await demo.set("second.example");
      await replaceAll(demo);
    });
    expect(failures).toEqual([]);
    expect(made).toBeGreaterThan(20 * PER_SECOND);
    expect(await demo.logs()).toContain("the mesh CA is new: waiting until others have heard of it");
  }, 400_000);

  test("a set that revokes ends what was issued before, and all pods renew without a restart", async () => {
    const began = await demo.shell.run("kubectl get pods -o jsonpath='{.items[*].metadata.uid}'");
    const result = await demo.set("third.example", "--revoke");
    expect(result).toContain("earlierCertificatesEnded");
    const renewed = `kubectl logs deployment/emoji -c contrast-initializer | grep '"previousMeshCas":0.*certificates renewed'`;
    await waitFor("the pods have renewed", 60, async () => demo.shell.run(renewed));
    // Those that are open would go on: this one connects anew.
    await demo.replacePods("web");
    await demo.serves();
    const { failures } = await demo.visiting(async () => sleep(3000));
    expect(failures).toEqual([]);
    const ended = await demo.shell.run("kubectl get pods -o jsonpath='{.items[*].metadata.uid}'");
    expect(began.split(" ").filter((uid) => ended.includes(uid)).length).toBeGreaterThanOrEqual(3);
  }, 400_000);
});

describeOnCluster("certificates that nobody renews", () => {
  test("a set and a rollout lose requests: what the tests above would see", async () => {
    const demo = await Demo.deploy("no-renewal", {}, {});
    try {
      const { made, failures } = await demo.visiting(async () => {
        await demo.set("first.example");
        await replaceAll(demo);
      });
      process.stdout.write(`without renewal ${failures.length} of ${made} requests failed\n`);
      expect(failures).not.toEqual([]);
    } finally {
      await demo.shell.close();
    }
  }, 600_000);
});

/** In the namespace of the test, with annotations without their prefix. */
function annotated(file: string, annotations: Readonly<Record<string, string>>): string {
  const documents = [...parseAllDocuments(file)];
  for (const document of documents) {
    document.deleteIn(["metadata", "namespace"]);
    if (document.get("kind") !== "Deployment") continue;
    for (const [name, value] of Object.entries(annotations)) {
      document.setIn(["metadata", "annotations", `contrast.edgeless.systems/${name}`], value);
    }
  }
  return documents.map(String).join("");
}
