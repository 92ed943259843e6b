import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Environment } from "../runtime/environment.ts";
import { NetfilterError } from "./error.ts";
import type { Family } from "./families.ts";

/** Installed under one of these names is a backend, nft or legacy; the first name is the one that the image prefers. */
const SUFFIXES = ["", "-nft", "-legacy"];

/** How long iptables may wait for its lock, and take altogether. */
const WAIT_SECONDS = 5;
const DEADLINE_MS = 10_000;

/** One backend of iptables(8), for one address family. Which one the kernel knows shows only when it is used. */
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
   * The installed backends, which are more than none.
   *
   * @param environment of the programs; PATH says where to look for them
   * @throws NetfilterError `iptables_missing`
   */
  static async find(family: Family, environment: Environment): Promise<readonly Iptables[]> {
    const base = family === "IPv4" ? "iptables" : "ip6tables";
    // A plain user's PATH often lacks the last two.
    const folders = [...(environment["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"].filter((folder) => folder !== "");
    const found: Iptables[] = [];
    for (const suffix of SUFFIXES) {
      for (const folder of folders) {
        const backend = new Iptables(base + suffix, folder, environment);
        if (!(await backend.#isInstalled())) continue;
        found.push(backend);
        break;
      }
    }
    if (found.length > 0) return found;
    throw new NetfilterError("iptables_missing", `can't filter ${family}`, {
      where: folders.join(":"),
      got: "no such program",
      want: `${base} and ${base}-restore`,
      hint:
        family === "IPv4"
          ? "install iptables in the image"
          : "install ip6tables in the image, or turn IPv6 off in the pod: net.ipv6.conf.all.disable_ipv6=1",
    });
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

  /** @throws NetfilterError `iptables_failed` */
  async has(table: string, rule: string): Promise<boolean> {
    // 1: no such rule. 2: the chain that it leads to does not exist.
    return this.#didOrNot([1, 2], table, ["-C", ...rule.split(" ")]);
  }

  /**
   * @returns false where there is no such rule
   * @throws NetfilterError `iptables_failed`
   */
  async remove(table: string, rule: string): Promise<boolean> {
    return this.#didOrNot([1], table, ["-D", ...rule.split(" ")]);
  }

  async #didOrNot(absent: readonly (number | null)[], table: string, args: readonly string[]): Promise<boolean> {
    const { code, error } = await this.#run(this.#program, ["-w", `${WAIT_SECONDS}`, "-t", table, ...args], "");
    if (code !== 0 && !absent.includes(code)) throw this.#failed(error);
    return code === 0;
  }

  async #run(file: string, args: readonly string[], input: string): Promise<{ code: number | null; error: string }> {
    // The legacy backend wants a lock file in /run, which a plain user or a read-only image does not have. Each container
    // has a /run of its own: the lock never kept two of them apart.
    const env = { XTABLES_LOCKFILE: "/dev/null", ...this.#environment };
    const child = spawn(file, args, { env, stdio: ["pipe", "ignore", "pipe"], timeout: DEADLINE_MS });
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    const closed = once(child, "close") as Promise<[number | null]>;
    const [error, [code]] = await Promise.all([text(child.stderr), closed]);
    return { code, error };
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
    return new NetfilterError("iptables_failed", "the packet filter could not be changed", {
      where: this.name,
      got:
        error
          .trim()
          .replaceAll(/\s*\n\s*/g, "; ")
          .slice(0, 300) || "no answer",
      hint: "grant NET_ADMIN (the legacy backend wants NET_RAW too); the kernel needs TPROXY and conntrack for every address family that the pod has",
    });
  }
}

/**
 * Does something with each backend, one after the other.
 *
 * @returns why some could not be used; one that the kernel does not know has no rules
 * @throws the first of these errors, where there is nothing else
 */
export async function withEach(
  backends: readonly Iptables[],
  act: (backend: Iptables) => Promise<void>,
): Promise<readonly NetfilterError[]> {
  const errors: NetfilterError[] = [];
  for (const backend of backends) {
    try {
      await act(backend);
    } catch (error) {
      if (!(error instanceof NetfilterError)) throw error;
      errors.push(error);
    }
  }
  if (errors.length === backends.length && errors[0] !== undefined) throw errors[0];
  return errors;
}
