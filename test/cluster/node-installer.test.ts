import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../cluster/commands.ts";
import { containerdSocket } from "../../cluster/configuration.ts";
import { NODE } from "../../cluster/layout.ts";
import { start } from "../../cluster/processes.ts";
import { describeOnCluster, LAYOUT } from "./cluster.ts";
import { released, Shell } from "./deployment.ts";

/** The node installer as a DaemonSet on a real node, with a real containerd, which it gives a handler that is runc. */

const CLASS = "contrast-cc-simulated-28bee6ab";
const CONFIG = join(LAYOUT.run, "containerd.toml");

const config = (): string => readFileSync(CONFIG, "utf8");

/** The release's file, for a class of this test's own, and with the places where this node has its containerd. */
function installer(name: string, runtime = "runc"): string {
  return readFileSync(released("node-installer-simulated.yml"), "utf8")
    .replaceAll(CLASS, name)
    .replace("value: runc", `value: ${runtime}`)
    .replace(
      "          env:\n",
      `          env:
            - name: CONTRAST_CONTAINERD_CONFIG
              value: ${CONFIG}
            - name: CONTRAST_CONTAINERD_SOCKET
              value: ${containerdSocket(LAYOUT)}
`,
    );
}

describeOnCluster("the node installer", () => {
  const before = config();
  let shell: Shell;
  const ended = new AbortController();
  let supervisor: Promise<void>;

  beforeAll(async () => {
    // What systemd does on a node: containerd is started again where it ends. `start` leaves one that runs alone.
    supervisor = (async () => {
      while (!ended.signal.aborted) {
        start(LAYOUT, "containerd", "containerd", "-c", CONFIG);
        await sleep(100);
      }
    })();
    shell = await Shell.open("installer");
  });

  afterAll(async () => {
    await shell.close();
    ended.abort();
    await supervisor;
    start(LAYOUT, "containerd", "containerd", "-c", CONFIG);
  });

  const labels = async (): Promise<string> =>
    shell.run(`kubectl get node ${NODE.name} -o jsonpath='{.metadata.labels}'`);
  const rollout = async (name: string): Promise<string> =>
    shell.run(`kubectl rollout status -n kube-system daemonset/${name}-installer --timeout=120s`);
  const remove = async (name: string): Promise<void> => {
    await shell.run(`kubectl delete -n kube-system daemonset ${name}-installer --cascade=foreground --timeout=120s
kubectl delete -f ${name}.yml --ignore-not-found`);
  };

  test("gives containerd a handler, pods run with it, and everything goes with the DaemonSet", async () => {
    const name = "contrast-cc-simulated-first";
    expect(await labels()).not.toContain(name);
    await shell.write(`${name}.yml`, installer(name));
    await shell.run(`kubectl apply -f ${name}.yml`);
    await rollout(name);
    expect(config()).toMatch(
      new RegExp(`^${before.trimEnd().replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}\n# BEGIN ${name}:`),
    );
    // It is set when containerd has the handler, which is all that the readiness probe asks for.
    await waitFor("the node has the label", 30, async () => {
      if (!(await labels()).includes(`"contrast.edgeless.systems/${name}":"true"`)) throw new Error("not yet");
    });
    await shell.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "user", namespace: "installer" },
      spec: {
        runtimeClassName: name,
        restartPolicy: "Never",
        containers: [
          {
            name: "user",
            image: /image: (\S+)/.exec(readFileSync(released("demo", "web.yml"), "utf8"))?.[1],
            command: ["node", "-e", "console.log('runs')"],
          },
        ],
      },
    });
    await shell.run("kubectl wait pod/user --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s");

    // A restart of the installer changes nothing, and does not restart containerd.
    const since = await containerdStart();
    await shell.run(`kubectl delete pod -n kube-system -l app.kubernetes.io/name=${name}-installer --wait`);
    await rollout(name);
    expect(await containerdStart()).toBe(since);

    await remove(name);
    expect(config()).toBe(before);
    expect(await labels()).not.toContain(name);
    expect(await containerdStart()).not.toBe(since);
  });

  test("two versions are there side by side, and one goes without the other", async () => {
    const [one, two] = ["contrast-cc-simulated-one", "contrast-cc-simulated-two"];
    for (const name of [one, two]) await shell.write(`${name}.yml`, installer(name));
    // At the same time: both change the same file.
    await shell.run(`kubectl apply -f ${one}.yml -f ${two}.yml`);
    await rollout(one);
    await rollout(two);
    expect(config()).toContain(`runtimes.${one}]`);
    expect(config()).toContain(`runtimes.${two}]`);
    await remove(one);
    expect(config()).not.toContain(one);
    expect(config()).toContain(`runtimes.${two}]`);
    await remove(two);
    expect(config()).toBe(before);
  });

  test("without Kata it says what is missing, and the node is as before", async () => {
    const name = "contrast-cc-simulated-kata";
    await shell.write(`${name}.yml`, installer(name, "qemu-snp"));
    await shell.run(`kubectl apply -f ${name}.yml`);
    const said = async (): Promise<string> =>
      shell.run(
        `kubectl get pod -n kube-system -l app.kubernetes.io/name=${name}-installer -o jsonpath='{.items[0].status.containerStatuses[0].lastState.terminated.message}'`,
      );
    await waitFor("the installer ended", 60, async () => {
      if ((await said()) === "") throw new Error("not yet");
    });
    expect(await said()).toMatch(/kata_missing.*\/opt\/kata\/VERSION/);
    expect(config()).toBe(before);
    expect(await labels()).not.toContain(name);
    await remove(name);
  });

  /** When containerd started, as the kernel counts it. */
  async function containerdStart(): Promise<string> {
    const { pid } = JSON.parse(readFileSync(join(LAYOUT.run, "containerd.process"), "utf8")) as { pid: number };
    const [, after = ""] = /\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return after.split(" ")[19] ?? "";
  }
});
