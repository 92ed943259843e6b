import type { Socket } from "node:net";
import { Gate } from "../runtime/gate.ts";
import { MeshProxyError } from "./errors.ts";
import { ignore, whileWaited } from "./leg.ts";
import type { Limits } from "./limits.ts";
import type { Direction } from "./metrics.ts";
import { SharedPlaces } from "./threads/shared-places.ts";
import { partOf, type ThreadShare } from "./threads/share.ts";

/** Room for connections, which nobody waits for. */
type Places = Pick<Gate, "inside" | "mostOfOnePeer" | "enter">;

/** Lets connections and handshakes in, as far as the limits allow. Sources take turns, so that a flood waits for itself. */
export class Admission {
  readonly limits: Limits;
  readonly ingress: Places;
  /** Of this thread. */
  readonly handshakes: Gate;
  readonly #egress = new Map<string, Places>();

  /** @param share undefined: there is no other thread */
  constructor(limits: Limits, share: ThreadShare | undefined) {
    this.limits = limits;
    if (share === undefined) {
      this.ingress = new Gate(limits.ingress);
      this.handshakes = new Gate(limits.handshakes);
      return;
    }
    this.ingress = new SharedPlaces(limits.ingress, share.ingress);
    this.handshakes = new Gate(partOf(limits.handshakes, share));
    for (const [listener, counters] of share.egress) {
      this.#egress.set(listener, new SharedPlaces(limits.egress, counters));
    }
  }

  /**
   * @param listener of egress: each has the limit for itself
   * @returns what gives the connection's place free
   * @throws MeshProxyError `too_many_connections` or `too_many_connections_of_source`
   */
  enter(direction: Direction, listener: string, source: string): () => void {
    const gate = direction === "ingress" ? this.ingress : this.#egressOf(listener);
    const leave = gate.enter(source, ignore);
    if (leave !== undefined) return leave;
    const { total, perPeer } = this.limits[direction];
    const variable = `CONTRAST_MAX_${direction.toUpperCase()}_CONNECTIONS`;
    if (gate.inside >= total) {
      throw new MeshProxyError("too_many_connections", "too many connections are open", {
        want: `at most ${total}`,
        hint: `if so many are meant to be, raise ${variable}`,
      });
    }
    throw new MeshProxyError("too_many_connections_of_source", "too many connections of this address are open", {
      want: `at most ${perPeer}`,
      hint: `if so many are meant to be, raise ${variable}_PER_SOURCE`,
    });
  }

  #egressOf(listener: string): Places {
    let gate = this.#egress.get(listener);
    if (gate === undefined) this.#egress.set(listener, (gate = new Gate(this.limits.egress)));
    return gate;
  }

  /** How many connections the egress listener has that has most. */
  get mostEgress(): number {
    return Math.max(0, ...[...this.#egress.values()].map(({ inside }) => inside));
  }

  /**
   * Runs a client's handshake when it is its source's turn.
   *
   * @throws what the handshake throws, or MeshProxyError `too_many_handshakes` or `client_gone`
   */
  async handshake<T>(client: Socket, source: string, handshake: () => Promise<T>): Promise<T> {
    const turn = Promise.withResolvers<void>();
    let isItsTurn = false;
    const leave = this.handshakes.enter(source, () => {
      isItsTurn = true;
      turn.resolve();
    });
    if (leave === undefined) throw tooManyHandshakes();
    try {
      if (!isItsTurn) await whileWaited(client, tooManyHandshakes, turn.promise, this.limits.handshakeMs);
      return await handshake();
    } finally {
      leave();
    }
  }
}

function tooManyHandshakes(): MeshProxyError {
  return new MeshProxyError("too_many_handshakes", "too many TLS handshakes are under way", {
    hint: "if so many are meant to be, raise CONTRAST_MAX_HANDSHAKES or CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
  });
}
