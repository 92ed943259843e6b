import { readFileSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { kubectl, onNode, run } from "./commands.ts";
import { containerdSocket } from "./configuration.ts";
import { CLIENT, type Layout, NODE } from "./layout.ts";
import { removeNetwork } from "./network.ts";
import { processesIn, signal, stop } from "./processes.ts";

/** Before the pods' processes are ended, and after. */
const FIRST = ["load-balancer", "coredns", "kube-proxy", "kubelet"];
const LAST = ["containerd", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd", "registry"];

/** Ends all that `up` started, by the ids that it wrote down, and removes what they left. */
export async function down(layout: Layout): Promise<void> {
  await kubectl(layout, "delete", "pods", "-A", "--all", "--grace-period=1", "--timeout=30s").catch(() => undefined);
  for (const name of FIRST) await stop(layout, name);
  const networks = await podNetworks(layout);
  for (const name of LAST) await stop(layout, name);
  // What is left in our namespaces: the shims of pods, with their pods, and whatever was started a moment ago.
  for (const pid of processesIn([NODE.namespace, CLIENT.namespace])) signal(pid, "SIGKILL");
  await unmount(layout);
  for (const name of networks) await run("ip", ["netns", "delete", name]).catch(() => undefined);
  await removeControlGroups();
  await removeNetwork();
  for (const folder of [layout.folder, layout.containerd]) rmSync(folder, { recursive: true, force: true });
}

/** Of the pods that this cluster still has, as their containerd knows them: a machine may have pods of others. */
async function podNetworks(layout: Layout): Promise<string[]> {
  const ctr = (...args: readonly string[]): Promise<string> =>
    onNode("ctr", `--address=${containerdSocket(layout)}`, "--namespace=k8s.io", ...args);
  const ids = (await ctr("containers", "list", "--quiet").catch(() => "")).split("\n").filter((id) => id !== "");
  const names = new Set<string>();
  for (const id of ids) {
    const info = await ctr("containers", "info", id).catch(() => "{}");
    const { Spec: spec } = JSON.parse(info) as { readonly Spec?: { readonly linux?: Linux } };
    for (const { type, path } of spec?.linux?.namespaces ?? []) {
      if (type === "network" && path !== undefined) names.add(basename(path));
    }
  }
  return [...names];
}

/** Of the OCI runtime specification. */
interface Linux {
  readonly namespaces?: readonly { readonly type: string; readonly path?: string }[];
}

/** The deepest first. */
async function unmount({ state, containerd }: Layout): Promise<void> {
  const mounts = readFileSync("/proc/self/mounts", "latin1")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((target) => [state, containerd].some((folder) => target.startsWith(`${folder}/`)));
  for (const target of mounts.toReversed()) await run("umount", ["-l", target]).catch(() => undefined);
}

/** The kubelet leaves its groups behind. */
async function removeControlGroups(): Promise<void> {
  await run("sh", [
    "-c",
    'for group in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; done; true',
  ]);
}
