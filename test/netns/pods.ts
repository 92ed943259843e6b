import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type Program, startProgram } from "../programs.ts";

/**
 * Pods for tests: network namespaces that are joined by a bridge in another one. They have no names: each lives as long
 * as the process that holds it, and that ends with this one. Root makes them as they are, anybody else in a user
 * namespace, where the kernel allows it.
 */

const root = join(import.meta.dirname, "../..");
const isRoot = process.getuid?.() === 0;
/** One after the other: /proc/net belongs to whoever is uid 0 when the network namespace is made. */
const NAMESPACES = ["unshare", ...(isRoot ? [] : ["--map-root-user", "unshare"]), "--net", "--mount"];

/** Why there can be no pods here, or undefined. */
export const NO_PODS = whyNot([...NAMESPACES, "iptables", "-t", "mangle", "-S"]);

/** Why a plain user can't have a capability here, or undefined. */
export const NO_PLAIN_USER = isRoot
  ? whyNot([
      "setpriv",
      "--reuid=65532",
      "--clear-groups",
      process.execPath,
      join(root, "mesh-proxy/main.ts"),
      "--version",
    ])
  : "only root can become another user";

/** What runs as root, or as a plain user, in a container with these capabilities and no other. */
export const asRoot = (capabilities = "+net_admin"): string[] => [
  "setpriv",
  `--inh-caps=-all,${capabilities}`,
  `--bounding-set=-all,${capabilities}`,
];
export const asPlainUser = (capabilities: string, groups = "--clear-groups"): string[] => [
  ...asRoot(capabilities),
  `--ambient-caps=-all,${capabilities}`,
  "--reuid=65532",
  "--regid=65532",
  groups,
];
/** Runs what follows as on a kernel without nf_tables. */
export const WITHOUT_NF_TABLES = [process.execPath, join(root, "test/netns/old-kernel.ts"), "/usr/bin/env"];

function whyNot([command = "", ...args]: readonly string[]): string | undefined {
  try {
    execFileSync(command, args, { stdio: "pipe" });
    return undefined;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).trim().replaceAll("\n", ": ");
  }
}

/** Runs a command in the namespaces of a process. */
function inside({ pid }: ChildProcess): string[] {
  const user = isRoot ? [] : ["--user", "--preserve-credentials"];
  return ["nsenter", `--target=${pid}`, ...user, "--net", "--mount"];
}

function run([file = "", ...args]: readonly string[]): string {
  // Not everybody may write iptables' lock file.
  const env = { ...process.env, XTABLES_LOCKFILE: "/dev/null" };
  return execFileSync(file, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Holds new namespaces until it is let go: `cat` ends when its input does, so not later than this process. */
async function hold(command: readonly string[]): Promise<ChildProcess> {
  const [file = "", ...args] = command;
  const child = spawn(file, [...args, "cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const started = once(child.stdout, "data");
  child.stdin.write("made\n");
  await started;
  return child;
}

/** Pods that reach each other. They are gone when the test is over. */
export class Network {
  readonly #holder: ChildProcess;
  #pods = 0;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async create(): Promise<Network> {
    const holder = await hold(NAMESPACES);
    onTestFinished(() => void holder.stdin?.end());
    const network = new Network(holder);
    network.#ip("link add bridge type bridge");
    network.#ip("link set bridge up");
    return network;
  }

  async addPod({ ipv6 = true } = {}): Promise<Pod> {
    const number = ++this.#pods;
    const holder = await hold([...inside(this.#holder), "unshare", "--net", "--mount"]);
    onTestFinished(() => void holder.stdin?.end());
    this.#ip(`link add veth${number} type veth peer name eth0 netns ${holder.pid}`);
    this.#ip(`link set veth${number} master bridge up`);
    const pod = new Pod(inside(holder), number);
    const settings = "/proc/sys/net/ipv6/conf";
    if (!ipv6) pod.run("sh", "-c", `echo 1 > ${settings}/all/disable_ipv6; echo 1 > ${settings}/default/disable_ipv6`);
    pod.run(..."ip link set lo up".split(" "));
    pod.run(..."ip link set eth0 up".split(" "));
    pod.run(...`ip address add ${pod.ipv4}/24 dev eth0`.split(" "));
    if (ipv6) pod.run(...`ip address add ${pod.ipv6}/64 dev eth0 nodad`.split(" "));
    return pod;
  }

  #ip(args: string): void {
    run([...inside(this.#holder), "ip", ...args.split(" ")]);
  }
}

export class Pod {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly #inside: readonly string[];

  constructor(inside: readonly string[], number: number) {
    this.#inside = inside;
    this.ipv4 = `10.11.12.${number}`;
    this.ipv6 = `fd11::${number}`;
  }

  /** Runs a command to its end. @returns what it writes */
  run(...command: string[]): string {
    return run([...this.#inside, ...command]);
  }

  /** Starts a program of the checkout, which is stopped when the test is over. */
  start(
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    within: readonly string[] = [],
  ): Program {
    // The working directory is lost on the way into the namespace.
    const [file = "", ...rest] = args;
    const program = startProgram([join(root, file), ...rest], environment, [...this.#inside, ...within]);
    onTestFinished(async () => {
      program.child.kill("SIGKILL");
      await program.exited;
    });
    return program;
  }

  /** What a client in this pod gets from a server that sends back "hello", or how its connection ends without it. */
  async call(host: string, port: number, ...kind: ["plain"] | ["tls" | "mutual", string]): Promise<string> {
    const client = this.start(["test/netns/client.ts", host, `${port}`, ...kind]);
    await client.exited;
    return client.stdout();
  }
}
