import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { CLIENT, type Layout, NODE } from "./layout.ts";

const exec = promisify(execFile);

/** Runs a command to its end. @returns its output. @throws with its error output where it fails */
export async function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const { stdout } = await exec(command, args, { env, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/** nsenter and not `ip netns exec`, which hides the control groups. */
export function inNamespace(namespace: string, args: readonly string[]): [string, string[]] {
  return ["nsenter", [`--net=/run/netns/${namespace}`, ...args]];
}

export async function onNode(...args: readonly string[]): Promise<string> {
  return run(...inNamespace(NODE.namespace, args));
}

export async function onClient(...args: readonly string[]): Promise<string> {
  return run(...inNamespace(CLIENT.namespace, args));
}

export async function kubectl(layout: Layout, ...args: readonly string[]): Promise<string> {
  return onNode(`${layout.bin}/kubectl`, `--kubeconfig=${layout.kubeconfig}`, ...args);
}

/** Applies resources, each as JSON. */
export async function apply(layout: Layout, ...resources: readonly object[]): Promise<void> {
  const items = { apiVersion: "v1", kind: "List", items: resources };
  await onNode(
    "sh",
    "-c",
    'printf %s "$0" | "$@"',
    JSON.stringify(items),
    `${layout.bin}/kubectl`,
    `--kubeconfig=${layout.kubeconfig}`,
    "apply",
    "-f",
    "-",
  );
}

/** @throws where it does not come true in time; the reason of the last attempt is the cause */
export async function waitFor(what: string, seconds: number, attempt: () => Promise<unknown>): Promise<void> {
  let cause: unknown;
  for (const end = performance.now() + seconds * 1000; performance.now() < end; await sleep(250)) {
    try {
      await attempt();
      return;
    } catch (error) {
      cause = error;
    }
  }
  throw new Error(`not within ${seconds} s: ${what}`, { cause });
}
