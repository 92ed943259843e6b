import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inNamespace } from "../../cluster/commands.ts";
import { CLIENT } from "../../cluster/layout.ts";
import { stopAtOnce } from "../../cluster/processes.ts";
import { up } from "../../cluster/up.ts";
import { describeOnCluster, LAYOUT } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { httpServer, service, workload } from "./resources.ts";

/** What happens to a deployment while it serves: a rolling restart, and what is killed. */

const PER_SECOND = 25;

interface Visits {
  readonly made: number;
  readonly failures: readonly string[];
}

interface Pods {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: {
      readonly initContainerStatuses: readonly Status[];
      readonly containerStatuses: readonly Status[];
    };
  }[];
}

interface Status {
  readonly name: string;
  readonly containerID: string;
  readonly restartCount: number;
  readonly ready: boolean;
}

describeOnCluster("disturbances", () => {
  let shell: Shell;
  let address: string;

  beforeAll(async () => {
    shell = await Shell.open("disturbances");
    const server = workload("server", {
      script: httpServer(8443),
      annotations: { "servicemesh-ingress": "server#8443#false" },
      spec: { replicas: 2 },
      container: {
        readinessProbe: {
          exec: { command: ["node", "-e", "fetch('http://127.0.0.1:8443')"] },
          periodSeconds: 2,
          timeoutSeconds: 10,
        },
        // The Service's clients go to others meanwhile.
        lifecycle: { preStop: { sleep: { seconds: 5 } } },
      },
    });
    await deploy(shell, [server, service("server", { 443: 8443 }, { type: "LoadBalancer" })]);
    await shell.run("kubectl rollout status deployment/server --timeout=120s");
    address = await shell.run("kubectl get svc server -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'");
  });

  afterAll(async () => shell.close());

  /** Visits the server while something is done. */
  async function visiting(disturb: () => Promise<void>): Promise<Visits> {
    const program = [process.execPath, join(import.meta.dirname, "visitor.ts")];
    const ca = join(shell.folder, "verify", "mesh-ca.pem");
    const [file, args] = inNamespace(CLIENT.namespace, [...program, address, "443", "server", ca, `${PER_SECOND}`]);
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

  async function pods(): Promise<Pods["items"]> {
    return (JSON.parse(await shell.kubectl("get", "pods", "-l", "app=server", "-o", "json")) as Pods).items;
  }

  async function statusOf(pod: string, name: string): Promise<Status | undefined> {
    const { status } = (await pods()).find(({ metadata }) => metadata.name === pod) ?? {};
    return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].find(
      (it) => it.name === name,
    );
  }

  async function servesAgain(): Promise<void> {
    const ca = "--cacert verify/mesh-ca.pem";
    const command = `curl -sS -m 5 ${ca} --connect-to server:443:${address}:443 https://server`;
    await expect.poll(async () => shell.run(command).catch(String), { timeout: 60_000 }).toBe("hello");
  }

  test("a rolling restart loses none of 25 new connections per second", async () => {
    const { made, failures } = await visiting(async () => {
      await shell.run(
        "kubectl rollout restart deployment/server && kubectl rollout status deployment/server --timeout=120s",
      );
      // The last old pods are asked to end when the new ones are ready.
      await sleep(8000);
    });
    expect(failures).toEqual([]);
    expect(made).toBeGreaterThan(8 * PER_SECOND);
  });

  test("the node's containerd is killed, and nobody notices", async () => {
    const { failures } = await visiting(async () => {
      await stopAtOnce(LAYOUT, "containerd");
      await sleep(2000);
      await up(LAYOUT, () => {});
      await shell.run("kubectl wait --for=condition=Ready node/node1 --timeout=60s");
      await sleep(2000);
    });
    expect(failures).toEqual([]);
    await shell.run(
      "kubectl scale deployment/server --replicas=3 && kubectl rollout status deployment/server --timeout=120s",
    );
    await shell.run(
      "kubectl scale deployment/server --replicas=1 && kubectl rollout status deployment/server --timeout=120s",
    );
    await expect.poll(async () => (await pods()).length, { timeout: 60_000 }).toBe(1);
  });

  test("a mesh proxy that is killed starts again beside its application", async () => {
    const [{ metadata } = { metadata: { name: "" } }] = await pods();
    const before = await statusOf(metadata.name, "contrast-mesh-proxy");
    for (const pid of processesOf(before?.containerID ?? "")) process.kill(pid, "SIGKILL");
    await expect
      .poll(async () => (await statusOf(metadata.name, "contrast-mesh-proxy"))?.restartCount, { timeout: 60_000 })
      .toBe((before?.restartCount ?? 0) + 1);
    await servesAgain();
    expect((await statusOf(metadata.name, "server"))?.restartCount).toBe(0);
  });

  test("a sandbox that is killed takes its pod along, and the kubelet makes it anew", async () => {
    const [{ metadata } = { metadata: { name: "" } }] = await pods();
    const before = await statusOf(metadata.name, "contrast-initializer");
    for (const pid of sandboxOf(processesOf((await statusOf(metadata.name, "server"))?.containerID ?? ""))) {
      process.kill(pid, "SIGKILL");
    }
    await expect
      .poll(async () => (await statusOf(metadata.name, "contrast-initializer"))?.containerID, { timeout: 60_000 })
      .not.toBe(before?.containerID);
    await servesAgain();
  });
});

/** By the control group, which the id is a part of. */
function processesOf(containerId: string): number[] {
  const id = containerId.replace("containerd://", "");
  if (id === "") throw new Error("there is no such container");
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .filter((entry) => read(`/proc/${entry}/cgroup`).includes(id))
    .map(Number);
}

/** The process that keeps the pod's network namespace: no other has this name. */
function sandboxOf(pids: readonly number[]): number[] {
  const group = (pid: number): string => (/(pod[0-9a-f-]{36})/.exec(read(`/proc/${pid}/cgroup`)) ?? [])[1] ?? "none";
  const [pod = "none"] = pids.map(group);
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && read(`/proc/${entry}/comm`) === "pause\n" && group(Number(entry)) === pod)
    .map(Number);
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
