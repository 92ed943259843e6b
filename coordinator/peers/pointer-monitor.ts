import { describeError } from "../../runtime/errors.ts";
import { again } from "../../runtime/again.ts";
import type { Logger } from "../../runtime/log.ts";
import { reasonOf } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import { CONFIRM_MS } from "../state/bounds.ts";
import type { Fork } from "../state/standing.ts";
import type { Sighting, StateGuard } from "../state/state-guard.ts";
import { forkedHistory, ROLLED_BACK_HINT } from "../state/take-over.ts";
import type { Store } from "../../store/store.ts";

export interface PointerMonitorOptions {
  readonly store: Store;
  readonly guard: StateGuard;
  /** A clock that nobody sets, in milliseconds. */
  readonly monotonic: () => number;
  readonly audit: Audit;
  readonly log: Logger;
}

/**
 * Looks at the pointer in a store that others move, too: every second, and when the store says that it moved. What a store
 * says by itself starts a look and proves nothing: only an answer to a question proves that the store was there after it.
 */
export class PointerMonitor {
  readonly #options: PointerMonitorOptions;
  #last: Sighting | "unreadable" | undefined;
  #fork: Fork | undefined;

  constructor(options: PointerMonitorOptions) {
    this.#options = options;
  }

  /** @returns what ends it */
  start(): () => void {
    const { store, guard } = this.#options;
    const timer = setInterval(() => {
      // Also where the store does not answer: that is when time matters.
      guard.look();
      this.poke();
    }, CONFIRM_MS);
    const ends = [store.watch(() => this.poke()), guard.onChange(() => this.#tellOfFork())];
    this.poke();
    return () => {
      clearInterval(timer);
      for (const end of ends) end();
    };
  }

  /** Looks at once, or once more after the look that is under way. */
  readonly poke = again(() => this.#look());

  async #look(): Promise<void> {
    const { store, guard, monotonic } = this.#options;
    const at = monotonic();
    try {
      const found = await guard.observe(await store.latest(), at);
      // Of an amendment there is nothing to tell.
      if (found === "moved" && (await this.#follow())) return;
      this.#tell(found, undefined);
    } catch (error) {
      this.#tell("unreadable", error);
    }
  }

  /** @returns whether what is in force is here now */
  async #follow(): Promise<boolean> {
    const { guard, log } = this.#options;
    try {
      return (await guard.follow()) !== undefined;
    } catch (error) {
      log.debug(`what is in force can't be followed: ${describeError(error)}`);
      return false;
    }
  }

  /** Once for what is in force; by the store or by a peer. */
  #tellOfFork(): void {
    const { guard, log, audit } = this.#options;
    const { known, standing } = guard;
    if (known === undefined || standing?.fork === undefined || standing.fork === this.#fork) return;
    this.#fork = standing.fork;
    const error = forkedHistory(standing.fork.one, standing.fork.other);
    log.error({ code: error.code }, `nothing is served any more: ${describeError(error)}`);
    const { manifestDigest: manifest, generation } = known;
    audit.record({ event: "history_forked", manifest, generation, ...reasonOf(error) });
  }

  /** Once for each change. */
  #tell(found: Sighting | "unreadable", error: unknown): void {
    const { guard, log, audit } = this.#options;
    if (found === "nothing" || found === this.#last) return;
    const before = this.#last;
    this.#last = found;
    const { known, standing } = guard;
    const inForce = known && { manifest: known.manifestDigest, generation: known.generation };
    if (found === "unreadable") log.warn(`the store does not say what is in force: ${describeError(error)}`);
    if (found === "confirmed" && before !== undefined) log.info("the store confirms what is in force");
    if (found === "moved")
      log.info("another Coordinator has put something else in force: nothing is served until it is here");
    if (known === undefined || inForce === undefined || standing === undefined) return;
    if (found === "rolled_back") {
      log.error({ hint: ROLLED_BACK_HINT }, "the store shows an older pointer than the one in force: set is refused");
      audit.record({ event: "state_rolled_back", ...inForce });
    }
  }
}
