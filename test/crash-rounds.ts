import { readdirSync, watch } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { UserAPI } from "../api/userapi_pb.ts";
import { RemoteError } from "../channel/error.ts";
import { RECORD_KINDS } from "../store/store.ts";
import { Chance } from "../fuzz/mutate.ts";
import type { Program } from "./programs.ts";
import { call, type Client, type Deployment, readHistory, type SeedShare } from "./state-deployment.ts";

/**
 * Kills the Coordinator while it sets a manifest or recovers, and looks at what it has after the next start: the history
 * of before, or that and the manifest that was being set; always the latter where the set was answered.
 *
 * What kill -9 can't show is a power loss: what was written and not synced is still there, in the kernel's memory. That
 * is for power-loss.test.ts.
 */

/** How the requests turned out that were killed; `answered` is a set whose answer came first. */
export interface Outcomes {
  old: number;
  new: number;
  answered: number;
  recoveries: number;
}

/** What is known of one state directory. */
interface Known {
  readonly directory: string;
  /** All manifests, oldest first. */
  readonly history: string[];
  /** The manifest of a set that was killed before its answer. */
  pending: string | undefined;
  /** Undefined until the first set was answered. */
  share: SeedShare | undefined;
}

/** So often is a directory used; a new one begins with kills during the first set of all. */
const ROUNDS_OF_A_DIRECTORY = 40;

/** For each of seven files: made, given its mode, written, renamed from and to. What is above is after the answer. */
const CHANGES_OF_A_SET = 35;

/** One in so many kills hits a recovery. */
const RECOVERIES = 4;

export class CrashRounds {
  readonly outcomes: Outcomes = { old: 0, new: 0, answered: 0, recoveries: 0 };
  readonly #deployment: Deployment;
  readonly #directory: string;
  readonly #chance: Chance;
  readonly #recoveryMs: number;
  #known: Known;
  #rounds = 0;

  private constructor(deployment: Deployment, directory: string, seed: number, recoveryMs: number) {
    this.#deployment = deployment;
    this.#directory = directory;
    this.#chance = new Chance(seed);
    this.#recoveryMs = recoveryMs;
    this.#known = this.#newDirectory();
  }

  /** @param seed of what is killed when */
  static async start(deployment: Deployment, directory: string, seed: number): Promise<CrashRounds> {
    return new CrashRounds(deployment, directory, seed, await measureRecovery(deployment, join(directory, "measured")));
  }

  /** One start, and one kill. @throws Error where anything was lost */
  async round(): Promise<void> {
    if (++this.#rounds % ROUNDS_OF_A_DIRECTORY === 0) {
      await this.finish();
      this.#known = this.#newDirectory();
    }
    await this.#run(async (program) => {
      if (this.#known.share !== undefined && this.#chance.below(RECOVERIES) === 0) {
        const owner = await connected(this.#deployment.seedshareOwner());
        const recovery = call(owner, UserAPI.method.recover, this.#known.share);
        // From before its first effect to after its answer. It moves the pointer, which changes no manifest.
        const instant = setTimeout((this.#chance.below(1300) / 1000) * this.#recoveryMs);
        await killDuring(program, recovery, instant);
        owner.close();
        this.outcomes.recoveries++;
      } else {
        await this.#recover();
        await this.#killDuringSet(program);
      }
    });
  }

  /** Starts without a kill, and finds all in order. */
  finish(): Promise<void> {
    return this.#run(() => this.#recover());
  }

  async #run(use: (program: Program) => Promise<void>): Promise<void> {
    const { directory } = this.#known;
    // Where the first set happened and its answer was lost, its seed shares are in the state.
    this.#known.share ??= await this.#deployment.storedSeedShare(directory);
    await withCoordinator(this.#deployment, directory, async (program, state) => {
      const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
      const unfinished = names.filter((name) => name.endsWith(".tmp"));
      equal(unfinished, [], "unfinished files");
      equal(state, this.#known.share === undefined ? "empty" : "recovery", "state");
      await use(program);
    });
  }

  /** Recovers, where there is something to recover, and finds the history as it may be. */
  async #recover(): Promise<void> {
    const { share, pending, history } = this.#known;
    let found: string[] = [];
    if (share !== undefined) {
      const owner = await this.#deployment.seedshareOwner();
      await call(owner, UserAPI.method.recover, share);
      found = await readHistory(owner);
      owner.close();
    }
    if (pending !== undefined) {
      const isNew = found.length > history.length;
      if (isNew) history.push(pending);
      this.outcomes[isNew ? "new" : "old"]++;
      this.#known.pending = undefined;
    }
    equal(found, history, "history");
  }

  async #killDuringSet(program: Program): Promise<void> {
    const owner = await this.#deployment.workloadOwner();
    // It asks for what is in force, so the connection is made, and the set is all that happens from here on.
    const next = await this.#deployment.allowed(owner, `round-${this.#rounds}`);
    const stop = new AbortController();
    const instant = changes(this.#known.directory, this.#chance.below(CHANGES_OF_A_SET + 5), stop.signal);
    const set = call(owner, UserAPI.method.setManifest, next);
    const answer = await killDuring(program, set, instant);
    stop.abort();
    owner.close();
    if (answer === undefined) {
      this.#known.pending = next.manifest.toString();
      return;
    }
    this.outcomes.answered++;
    this.#known.history.push(next.manifest.toString());
    this.#known.share ??= this.#deployment.openSeedShare(answer);
  }

  #newDirectory(): Known {
    const directory = join(this.#directory, `state-${this.#rounds}`);
    return { directory, history: [], pending: undefined, share: undefined };
  }
}

/** @returns how long the recovery takes that a new process is asked for first, in milliseconds */
async function measureRecovery(deployment: Deployment, directory: string): Promise<number> {
  const answer = await withCoordinator(deployment, directory, async () => {
    const owner = await connected(deployment.workloadOwner());
    return call(owner, UserAPI.method.setManifest, deployment.manifest("measured")).finally(() => owner.close());
  });
  return withCoordinator(deployment, directory, async () => {
    const owner = await connected(deployment.seedshareOwner());
    const begin = performance.now();
    await call(owner, UserAPI.method.recover, deployment.openSeedShare(answer));
    owner.close();
    return performance.now() - begin;
  });
}

/** Starts a Coordinator, and kills it afterwards. @throws Error with its log */
async function withCoordinator<T>(
  deployment: Deployment,
  directory: string,
  use: (program: Program, state: unknown) => Promise<T>,
): Promise<T> {
  const program = deployment.start(directory);
  try {
    const { state } = await program.line("ready");
    return await use(program, state);
  } catch (cause) {
    const log = [...program.text, ...program.log.map((line) => JSON.stringify(line))];
    throw new Error(`after this log of the Coordinator:\n${log.join("\n")}`, { cause });
  } finally {
    await kill(program);
  }
}

async function kill(program: Program): Promise<void> {
  program.child.kill("SIGKILL");
  await program.exited;
}

/** A client whose connection is made, so that the next request is all that happens. */
async function connected(client: Promise<Client>): Promise<Client> {
  const owner = await client;
  await call(owner, UserAPI.method.getManifests, {}).catch((error: unknown) => {
    if (!(error instanceof RemoteError)) throw error;
  });
  return owner;
}

/**
 * @param until the instant of the kill
 * @returns the answer; undefined where the kill came first
 */
async function killDuring<T>(program: Program, request: Promise<T>, until: Promise<unknown>): Promise<T | undefined> {
  const answer = request.catch((error: unknown) => {
    // A refusal is no crash.
    if (error instanceof RemoteError) throw error;
    return undefined;
  });
  await Promise.race([until, answer]);
  await kill(program);
  return answer;
}

/** Resolves when files or their names have changed so often: an instant that is the same under any load. */
function changes(directory: string, count: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0;
    const onChange = (): void => {
      if (++seen === count) resolve();
    };
    for (const name of [".", ...RECORD_KINDS]) watch(join(directory, name), { signal: stop }, onChange);
    if (count === 0) resolve();
  });
}

function equal(found: unknown, expected: unknown, what: string): void {
  const [got, want] = [JSON.stringify(found), JSON.stringify(expected)];
  if (got !== want) throw new Error(`${what}: got ${got}, want ${want}`);
}
