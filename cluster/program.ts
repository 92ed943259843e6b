import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { build, cacheOf, cannotBuild } from "./build.ts";
import { down } from "./down.ts";
import { type Layout, layoutOf, NODE } from "./layout.ts";
import { up } from "./up.ts";

/** `npm run cluster`: a real Kubernetes of one node, in network namespaces of its own. */

const HELP = `npm run cluster -- [options]

Builds Kubernetes from its Go modules, once, and starts a cluster of one node in network namespaces of its own. It needs
root, Go, and Debian's etcd-server, containerd, runc, containernetworking-plugins, docker-registry, buildah, skopeo,
iptables, conntrack and curl.

  --build  build Kubernetes, and start nothing
  --test   run the tests of a deployment on it, and remove the cluster
  --hold   remove the cluster when the standard input ends
  --down   remove the cluster
`;

const root = join(import.meta.dirname, "..");
const flag = { type: "boolean", default: false } as const;
const began = performance.now();

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { build: flag, down: flag, test: flag, hold: flag, help: flag } });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const cache = cacheOf(root);
  const why =
    values.build || process.getuid?.() === 0 ? cannotBuild(cache) : "only root can make network namespaces and pods";
  if (why !== undefined) {
    process.stderr.write(`cluster: ${why}\n`);
    return 2;
  }
  const layout = layoutOf(build(cache, tell).bin);
  if (values.build) tell("built");
  else if (values.down) await bringDown(layout);
  else if (values.test) return test();
  else if (values.hold) await hold(layout);
  else await bringUp(layout);
  return 0;
}

async function bringUp(layout: Layout): Promise<void> {
  await up(layout, tell);
  tell(
    `up; nsenter --net=/run/netns/${NODE.namespace} ${layout.bin}/kubectl --kubeconfig=${layout.kubeconfig} get nodes`,
  );
}

async function bringDown(layout: Layout): Promise<void> {
  await down(layout);
  tell("down; nothing is left");
}

/** Whoever needs the cluster holds the other end of the input, which the kernel closes however they end. */
async function hold(layout: Layout): Promise<void> {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  process.stdout.on("error", () => {});
  const released = finished(process.stdin.resume());
  try {
    await bringUp(layout);
    await released;
  } finally {
    await bringDown(layout);
  }
}

/** The tests start the cluster, and let it go. */
async function test(): Promise<number> {
  const child = spawn("npx", ["vitest", "run", "--project", "cluster"], { cwd: root, stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 130;
}

function tell(line: string): void {
  process.stdout.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)}s  ${line}\n`);
}
