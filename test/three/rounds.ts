import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserAPI } from "../../api/userapi_pb.ts";
import { Chance } from "../../fuzz/mutate.ts";
import { check, type Found } from "./checks.ts";
import { Coordinator } from "./coordinator.ts";
import { makeOwners, type Owners, type SeedShare } from "./deployment.ts";
import { type Fault, faultsFor, type Scene } from "./faults.ts";
import { Load } from "./load.ts";
import { ALL, makeBridge } from "./network.ts";
import { openSharedStore, type SharedStore } from "./store.ts";

/** Three Coordinators, one fault after the other under load, and what is found after each. */

export interface RoundsOptions {
  readonly seed: number;
  /** The small store even where etcd and kube-apiserver are there. */
  readonly small: boolean;
  /** Longest time that something stands still or is cut off, in milliseconds. */
  readonly longestMs: number;
  /** The name of the one fault that there is; undefined: all. */
  readonly only?: string | undefined;
}

export interface Round {
  readonly fault: string;
  /** From the start of the fault, the longest time in which nobody got a certificate from any Coordinator. */
  readonly outageMs: number;
  /** From its end, until each of the three has served. */
  readonly againMs: number;
  readonly sets: number;
  readonly issued: number;
  /** Mesh CAs that took the place of others without a set. */
  readonly replaced: number;
  /** Whether owners had to recover. */
  readonly recovered: boolean;
  readonly refusals: Readonly<Record<string, number>>;
}

/** Until it is a fault that it does not serve again. */
const SERVES_MS = 90_000;
const LOAD_MS = 1500;
const FIRST = "first";

export class Rounds {
  readonly what: string;
  readonly #directory: string;
  readonly #scene: Scene;
  readonly #owners: Owners;
  readonly #faults: readonly Fault[];
  #share: SeedShare | undefined;
  #found: Found | undefined;
  #turns: Fault[] = [];

  private constructor(directory: string, scene: Scene, owners: Owners, only: string | undefined) {
    this.#directory = directory;
    this.#scene = scene;
    this.#owners = owners;
    this.what = scene.store.what;
    this.#faults = faultsFor(scene.store.parts.map(({ name }) => name)).filter(
      ({ name }) => only === undefined || name === only,
    );
  }

  /** In namespaces of this process. */
  static async start({ seed, small, longestMs, only }: RoundsOptions): Promise<Rounds> {
    makeBridge();
    const directory = mkdtempSync(join(tmpdir(), "contrast-three-"));
    const owners = await makeOwners(directory, ALL.length);
    const store: SharedStore = await openSharedStore(directory, small);
    const coordinators: Coordinator[] = [];
    for (const number of ALL) {
      coordinators.push(await Coordinator.make(number, directory, owners.teeOf(number), store));
    }
    const scene = { coordinators, store, chance: new Chance(seed), longestMs };
    const rounds = new Rounds(directory, scene, owners, only);
    for (const coordinator of coordinators) coordinator.start();
    try {
      await rounds.#firstSet();
    } catch (error) {
      await rounds.close(true);
      throw error;
    }
    return rounds;
  }

  /** @throws Error where anything is not as it has to be; the logs are kept then */
  async round(): Promise<Round> {
    const { coordinators, store, chance } = this.#scene;
    const fault = this.#next();
    const load = new Load(
      this.#owners,
      coordinators.map(({ address }) => address),
      chance,
    );
    await sleep(LOAD_MS);
    const began = performance.now();
    await fault.run(this.#scene);
    const over = performance.now();
    const recovered = await this.#serveAgain();
    const againMs = performance.now() - over;
    const end = performance.now();
    await sleep(LOAD_MS);
    await load.stop();
    await this.#settle();
    const { outcome } = load;
    const found = await check(coordinators, this.#owners, store, outcome, this.#found);
    const faults = [...found.faults];
    if (found.replaced > 0 && !fault.mayLose && !recovered) {
      faults.push(`${found.replaced} mesh CAs were replaced without a set`);
    }
    if (faults.length > 0) throw new Error(`after "${fault.name}":\n${faults.slice(0, 20).join("\n")}`);
    this.#found = found;
    return {
      fault: fault.name,
      outageMs: longestGap(
        outcome.issued.map(({ at }) => at),
        began,
        end,
      ),
      againMs,
      sets: outcome.sets.length,
      issued: outcome.issued.length,
      replaced: found.replaced,
      recovered,
      refusals: outcome.refusals,
    };
  }

  /** @param keep the logs of all Coordinators. @returns where they are */
  async close(keep: boolean): Promise<string | undefined> {
    const { coordinators, store } = this.#scene;
    const logs = coordinators.map(({ number, log }) => [number, log] as const);
    for (const coordinator of coordinators) await coordinator.close();
    await store.close();
    if (!keep) {
      // What is mounted there goes with this process's namespace.
      rmSync(this.#directory, { recursive: true, force: true, maxRetries: 2 });
      return undefined;
    }
    for (const [number, log] of logs) writeFileSync(join(this.#directory, `coordinator-${number}.log`), log.join("\n"));
    return this.#directory;
  }

  /** Every fault once, in an order of its own, before any comes twice. */
  #next(): Fault {
    const { chance } = this.#scene;
    if (this.#turns.length === 0) this.#turns = [...this.#faults];
    const [fault] = this.#turns.splice(chance.below(this.#turns.length), 1);
    if (fault === undefined) throw new Error("there is no fault");
    return fault;
  }

  async #firstSet(): Promise<void> {
    const [first] = this.#scene.coordinators;
    if (first === undefined) throw new Error("there is no Coordinator");
    await this.#until("the first Coordinator runs", async () => (await first.phase()) === "empty");
    const client = this.#owners.workloadOwner(first.address);
    const change = await this.#owners.allowed(client, FIRST);
    const answer = await client.call(UserAPI.method.setManifest, change, new Date(Date.now() + 20_000));
    client.close();
    this.#share = this.#owners.openSeedShare(answer);
    await this.#settle();
    const { coordinators, store } = this.#scene;
    const outcome = { sets: [], failed: new Map([[FIRST, "none"]]), violations: [], issued: [], refusals: {} };
    this.#found = await check(coordinators, this.#owners, store, outcome, undefined);
    if (this.#found.faults.length > 0) throw new Error(this.#found.faults.join("\n"));
  }

  /**
   * Until each has served again: sets go on, so there need not be a moment in which all do. Where all have lost their
   * secrets, the owners recover one, once.
   *
   * @returns whether they did
   */
  async #serveAgain(): Promise<boolean> {
    let recovered = false;
    const have = new Set<number>();
    await this.#until("each serves again", async () => {
      const phases = await this.#phases();
      if (phases.every((phase) => phase === "recovery") && !recovered) {
        recovered = true;
        await this.#recover();
      }
      phases.forEach((phase, index) => phase === "active" && have.add(index));
      return have.size === phases.length;
    });
    return recovered;
  }

  async #settle(): Promise<void> {
    await this.#until("all three serve", async () => (await this.#phases()).every((phase) => phase === "active"));
  }

  #phases(): Promise<(string | undefined)[]> {
    return Promise.all(this.#scene.coordinators.map((coordinator) => coordinator.phase()));
  }

  async #recover(): Promise<void> {
    const { coordinators, chance } = this.#scene;
    const client = this.#owners.seedshareOwner(chance.of(coordinators).address);
    try {
      await client.call(UserAPI.method.recover, this.#share ?? {}, new Date(Date.now() + 20_000));
    } finally {
      client.close();
    }
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + SERVES_MS;
    while (!(await holds())) {
      if (performance.now() > end)
        throw new Error(`not in time: ${what}; they are ${(await this.#phases()).join(", ")}`);
      await sleep(50);
    }
  }
}

function longestGap(times: readonly number[], began: number, end: number): number {
  const within = [began, ...times.filter((at) => at > began && at < end).toSorted((a, b) => a - b), end];
  return Math.max(...within.map((at, index) => at - (within[index - 1] ?? at)));
}
