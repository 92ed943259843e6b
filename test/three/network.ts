import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

/**
 * The network of three Coordinators. This process is in a network namespace of its own, which has a bridge: the store and
 * the clients are at addresses of the bridge, and each Coordinator in a namespace that is joined to it. All is gone when
 * this process ends.
 */

const NETWORK = "10.46.0";
export const CLIENT = `${NETWORK}.1`;
export const STORE = `${NETWORK}.2`;
export const PEERS_NAME = "coordinator-peers";
const BRIDGE = "bridge";

/** How this process has to be started, so that it is in namespaces of its own. All processes there end with it. */
export const NAMESPACES = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"] as const;

export function makeBridge(): void {
  run("ip", "link", "set", "lo", "up");
  run("ip", "link", "add", BRIDGE, "type", "bridge");
  run("ip", "link", "set", BRIDGE, "up");
  for (const address of [CLIENT, STORE]) run("ip", "address", "add", `${address}/24`, "dev", BRIDGE);
}

/** What a Coordinator can be cut off from. `all` is also its clients. */
export type Cut = "store" | "peers" | "all";

/** The namespaces of one Coordinator: they outlive its process, as those of a pod do. */
export class Place {
  readonly address: string;
  readonly #number: number;
  readonly #holder: ChildProcess;

  private constructor(number: number, holder: ChildProcess) {
    this.#number = number;
    this.#holder = holder;
    this.address = addressOf(number);
  }

  /** @param number from 1 */
  static async make(number: number): Promise<Place> {
    const holder = spawn("unshare", ["--net", "--mount", "cat"], { stdio: ["pipe", "pipe", "inherit"] });
    const started = once(holder.stdout, "data");
    holder.stdin.write("made\n");
    await started;
    const place = new Place(number, holder);
    run("ip", "link", "add", place.#link, "type", "veth", "peer", "name", "eth0", "netns", `${holder.pid}`);
    run("ip", "link", "set", place.#link, "master", BRIDGE, "up");
    for (const command of ["link set lo up", "link set eth0 up", `address add ${place.address}/24 dev eth0`]) {
      place.run("ip", ...command.split(" "));
    }
    return place;
  }

  /** A command in the namespaces. */
  get within(): readonly string[] {
    return ["nsenter", `--target=${this.#holder.pid}`, "--net", "--mount"];
  }

  get #link(): string {
    return `veth${this.#number}`;
  }

  run(...command: readonly string[]): void {
    run(...this.within, ...command);
  }

  cut(cut: Cut): void {
    if (cut === "all") {
      run("ip", "link", "set", this.#link, "down");
      return;
    }
    const others = cut === "store" ? [STORE] : ALL.map(addressOf).filter((address) => address !== this.address);
    for (const other of others) {
      this.run("iptables", "-w", "-A", "INPUT", "-s", other, "-j", "DROP");
      this.run("iptables", "-w", "-A", "OUTPUT", "-d", other, "-j", "DROP");
    }
  }

  heal(): void {
    run("ip", "link", "set", this.#link, "up");
    this.run("iptables", "-w", "-F");
  }

  release(): void {
    this.#holder.stdin?.end();
  }
}

export const ALL = [1, 2, 3] as const;

function addressOf(number: number): string {
  return `${NETWORK}.${10 + number}`;
}

/** /etc/hosts with all Coordinators by the name of their headless Service. */
export function hosts(): string {
  const all = ALL.map((number) => `${addressOf(number)} ${PEERS_NAME}\n`);
  return `127.0.0.1 localhost\n${all.join("")}`;
}

function run(...[file = "", ...args]: readonly string[]): void {
  execFileSync(file, args, { stdio: ["ignore", "pipe", "pipe"] });
}
