import type { Direction } from "../direction.ts";
import type { Limits } from "../limits/limits.ts";
import { bucketSamples, type Labels, type Sample } from "../observe/exposition.ts";
import { type Carried, HANDSHAKE_BOUNDS, type Outcome, type RuleCounts, type Usage } from "../observe/metrics.ts";
import type { EngineRuleCounts, EngineUsed, NativeEngine } from "./addon.ts";
import type { RuleNumbers } from "./openings.ts";

/** What the engine counts, in the shapes of the metrics. */

const NOTHING: EngineRuleCounts = {
  open: 0,
  completed: 0,
  refused: 0,
  broken: 0,
  refusals: [],
  up: 0,
  down: 0,
  buffered: 0,
  handshakes: HANDSHAKE_BOUNDS.map(() => 0).concat(0),
  handshakeSeconds: 0,
};

/** The connections of one rule. */
export class EngineRule implements RuleCounts {
  readonly labels: Labels;
  readonly #engine: NativeEngine;
  readonly #number: number;

  constructor(engine: NativeEngine, numbers: RuleNumbers, direction: Direction, rule: string) {
    this.labels = { direction, rule };
    this.#engine = engine;
    this.#number = numbers.of(direction, rule);
  }

  get #counts(): EngineRuleCounts {
    return this.#engine.counts()[this.#number] ?? NOTHING;
  }

  get open(): number {
    return this.#counts.open;
  }

  get ended(): Readonly<Record<Outcome, number>> {
    const { completed, refused, broken } = this.#counts;
    return { completed, refused, broken };
  }

  get refusals(): ReadonlyMap<string, number> {
    return new Map(this.#counts.refusals.map(({ code, count }) => [code, count]));
  }

  bytes(flow: keyof Carried): number {
    return this.#counts[flow];
  }

  get bufferedBytes(): number {
    return this.#counts.buffered;
  }

  handshakeSamples(labels: Labels): Sample[] {
    const { handshakes, handshakeSeconds } = this.#counts;
    return bucketSamples(labels, HANDSHAKE_BOUNDS, handshakes, handshakeSeconds);
  }
}

export function usageOf(engine: NativeEngine, limits: Limits): Usage {
  const used = (): EngineUsed => engine.used();
  return {
    limits,
    ingress: {
      get inside() {
        return used().ingress;
      },
      get mostOfOnePeer() {
        return used().ingressOfSource;
      },
    },
    get mostEgress() {
      return used().egressOfRoute;
    },
    handshakes: {
      get inside() {
        return used().handshakes;
      },
      get mostOfOnePeer() {
        return used().handshakesOfSource;
      },
      get waiting() {
        return used().handshakesWaiting;
      },
    },
    heldBytes: {
      get used() {
        return used().heldBytes;
      },
      get mostOfOneSource() {
        return used().heldBytesOfSource;
      },
    },
  };
}
