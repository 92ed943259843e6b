import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Environment } from "../runtime/environment.ts";
import { NetfilterError } from "./error.ts";
import type { Family } from "./families.ts";

/** The two implementations of iptables(8) in the kernel. A packet has to pass both. */
export type Kind = "nft" | "legacy";

/** The programs of a backend have one of these names; the first is the one that the image prefers. */
const SUFFIXES = ["", "-nft", "-legacy"];

/** How long iptables may wait for its lock, and take altogether. */
const WAIT_SECONDS = 5;
const DEADLINE_MS = 10_000;

interface Result {
  readonly code: number | null;
  readonly output: string;
  readonly error: string;
}

/** One backend of iptables(8), for one address family. Whether the kernel knows it shows only when it is used. */
export class Iptables {
  readonly name: string;
  readonly #restore: string;
  readonly #program: string;
  readonly #environment: Environment;

  private constructor(name: string, folder: string, environment: Environment) {
    this.name = name;
    this.#program = join(folder, name);
    this.#restore = join(folder, `${name}-restore`);
    this.#environment = environment;
  }

  /**
   * The installed backends, the one that the image prefers first.
   *
   * @param environment of the programs; PATH says where to look for them
   */
  static async installed(family: Family, environment: Environment): Promise<ReadonlyMap<Kind, Iptables>> {
    const found = new Map<Kind, Iptables>();
    for (const suffix of SUFFIXES) {
      for (const folder of foldersOf(environment)) {
        const backend = new Iptables(BASE[family] + suffix, folder, environment);
        const kind = (await backend.#isInstalled()) ? await backend.#kind() : undefined;
        if (kind === undefined) continue;
        if (!found.has(kind)) found.set(kind, backend);
        break;
      }
    }
    return found;
  }

  /**
   * Changes one table in one commit: all of the lines take effect, or none. Other chains are left alone.
   *
   * @throws NetfilterError `iptables_failed`
   */
  async restore(table: string, lines: readonly string[]): Promise<void> {
    const input = [`*${table}`, ...lines, "COMMIT", ""].join("\n");
    const { code, error } = await this.#run(this.#restore, ["--noflush", "-w", `${WAIT_SECONDS}`], input);
    if (code !== 0) throw this.#failed(error);
  }

  /**
   * @returns false where there is no such rule
   * @throws NetfilterError `iptables_failed`
   */
  async remove(table: string, rule: string): Promise<boolean> {
    const args = ["-w", `${WAIT_SECONDS}`, "-t", table, "-D", ...rule.split(" ")];
    const { code, error } = await this.#run(this.#program, args, "");
    if (code === 0) return true;
    // The code alone is also that of a backend that did not get as far as to look.
    if (code === 1 && error.includes("does a matching rule exist in that chain?")) return false;
    throw this.#failed(error);
  }

  /**
   * The rules of a table, each as the line that would make it.
   *
   * @throws NetfilterError `iptables_failed`
   */
  async list(table: string): Promise<readonly string[]> {
    const { code, output, error } = await this.#run(this.#program, ["-w", `${WAIT_SECONDS}`, "-t", table, "-S"], "");
    if (code !== 0) throw this.#failed(error);
    return output.split("\n").filter((line) => line !== "");
  }

  /** @returns undefined where it is no program of iptables, or none of its backends */
  async #kind(): Promise<Kind | undefined> {
    const { output, error } = await this.#run(this.#program, ["--version"], "");
    // On a kernel that does not know it, this is all that it says.
    if (error.includes("Failed to initialize nft")) return "nft";
    // Before version 1.8 there was one backend, and it was not named.
    const match = /^ip6?tables v\d+(?:\.\d+)*(?: \((nf_tables|legacy)\))?$/m.exec(output);
    if (match === null) return undefined;
    return match[1] === "nf_tables" ? "nft" : "legacy";
  }

  async #run(file: string, args: readonly string[], input: string): Promise<Result> {
    // The legacy backend wants a lock file in /run, which a plain user or a read-only image does not have. Each container
    // has a /run of its own: the lock never kept two of them apart.
    const env = { XTABLES_LOCKFILE: "/dev/null", ...this.#environment, LC_ALL: "C" };
    const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "pipe"], timeout: DEADLINE_MS });
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    const closed = once(child, "close") as Promise<[number | null]>;
    try {
      const [output, error, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
      return { code, output, error };
    } catch (error) {
      // It could not be started.
      throw this.#failed(error instanceof Error ? error.message : String(error));
    }
  }

  async #isInstalled(): Promise<boolean> {
    const files = [this.#program, this.#restore];
    const missing = files.map(async (file) =>
      access(file, constants.X_OK).then(
        () => false,
        () => true,
      ),
    );
    return !(await Promise.all(missing)).includes(true);
  }

  #failed(error: string): NetfilterError {
    const got = error.trim().replaceAll(/\s*\n\s*/g, "; ");
    return new NetfilterError("iptables_failed", "the packet filter could not be looked at or changed", {
      where: this.name,
      got: got === "" ? "no answer" : got.slice(0, 300),
      hint: got.includes("Permission denied") ? GRANT : NEEDS,
    });
  }
}

const GRANT =
  "grant NET_ADMIN, and NET_RAW for the tables of iptables-legacy, which /proc/net/ip_tables_names and ip6_tables_names list";
const NEEDS =
  "the kernel needs iptables with conntrack, mark and TPROXY for every address family that the pod has; see what the line names";

const BASE: Readonly<Record<Family, string>> = { IPv4: "iptables", IPv6: "ip6tables" };

/** A plain user's PATH often lacks the last two. */
function foldersOf(environment: Environment): string[] {
  return [...(environment["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"].filter((folder) => folder !== "");
}

/** @param kind a backend that the pod needs and the image lacks */
export function missing(family: Family, kind: Kind, environment: Environment): NetfilterError {
  const program = `${BASE[family]}-${kind}`;
  return new NetfilterError("iptables_missing", `can't filter ${family}`, {
    where: foldersOf(environment).join(":"),
    got: "no such program",
    want: `${program} and ${program}-restore`,
    hint:
      family === "IPv4"
        ? `install iptables in the image, with its backend ${kind}`
        : `install ip6tables in the image, with its backend ${kind}, or turn IPv6 off in the pod: net.ipv6.conf.all.disable_ipv6=1`,
  });
}
