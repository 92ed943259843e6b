import type { Socket } from "node:net";
import { KeyedSemaphore } from "../../../runtime/keyed-semaphore.ts";
import type { Direction } from "../../direction.ts";
import { MeshProxyError } from "../../faults.ts";
import { type Guest, Guests } from "./guests.ts";
import { HeldBytes } from "./held-bytes.ts";
import { ignore, whileWaited } from "../leg.ts";
import type { Limits } from "../../limits/limits.ts";

/** Lets connections and handshakes in, as far as the limits allow. Sources take turns, so that a flood waits for itself. */
export class Admission {
  readonly limits: Limits;
  readonly ingress: KeyedSemaphore;
  readonly handshakes: KeyedSemaphore;
  readonly heldBytes: HeldBytes;
  readonly #egress = new Map<string, KeyedSemaphore>();
  readonly #clock: () => number;
  /** Connections from outside. */
  readonly #guests = new Guests();
  /** Handshakes under way. */
  readonly #underWay = new Guests();

  constructor(limits: Limits, clock: () => number) {
    this.limits = limits;
    this.#clock = clock;
    this.heldBytes = new HeldBytes(limits.heldBytes);
    this.ingress = new KeyedSemaphore(limits.ingress);
    this.handshakes = new KeyedSemaphore(limits.handshakes);
  }

  /**
   * Where there is no place, a guest may have to go: one of the source that has most, for a source that has less, or one that
   * keeps others of its own source waiting.
   *
   * @param listener of egress: each has the limit for itself
   * @returns what gives the connection's place free
   * @throws MeshProxyError `too_many_connections` or `too_many_connections_of_source`
   */
  enter(direction: Direction, listener: string, source: string, guest: Guest): () => void {
    if (direction === "egress") return this.#enter(direction, this.#egressOf(listener), source);
    const leave = this.#enterIngress(source);
    this.#guests.add(source, guest);
    return () => {
      this.#guests.remove(source, guest);
      leave();
    };
  }

  #enterIngress(source: string): () => void {
    if (this.ingress.inside >= this.#placesFor(source)) {
      const guest = this.#guests.ofLargest(source);
      if (guest === undefined) throw tooManyConnections("ingress", this.limits.ingress.total);
      guest.displace();
    }
    const leave = this.ingress.enter(source, ignore);
    if (leave !== undefined) return leave;
    this.#guests.slowestOf(source, this.#clock())?.displace();
    return this.#enter("ingress", this.ingress, source);
  }

  /**
   * The last places are for sources that have few, so that they seldom displace anybody. Where one source may have most of
   * all places, nobody else is expected.
   */
  #placesFor(source: string): number {
    const { total, perPeer } = this.limits.ingress;
    const inside = this.#guests.of(source);
    return perPeer > total / 2 || inside < Math.max(1, total / FEW) ? total : total - Math.floor(total / RESERVED);
  }

  #enter(direction: Direction, gate: KeyedSemaphore, source: string): () => void {
    const leave = gate.enter(source, ignore);
    if (leave !== undefined) return leave;
    const { total, perPeer } = this.limits[direction];
    if (gate.inside >= total) throw tooManyConnections(direction, total);
    throw new MeshProxyError("too_many_connections_of_source", "too many connections of this address are open", {
      want: `at most ${perPeer}`,
      hint: `if so many are meant to be, raise ${variableOf(direction)}_PER_SOURCE`,
    });
  }

  #egressOf(listener: string): KeyedSemaphore {
    let gate = this.#egress.get(listener);
    if (gate === undefined) this.#egress.set(listener, (gate = new KeyedSemaphore(this.limits.egress)));
    return gate;
  }

  /** How many connections the egress listener has that has most. */
  get mostEgress(): number {
    return Math.max(0, ...[...this.#egress.values()].map(({ inside }) => inside));
  }

  /**
   * Runs a client's handshake when it is its source's turn. Who has to wait displaces others as in `enter`.
   *
   * @throws what the handshake throws, or MeshProxyError `too_many_handshakes` or `client_gone`
   */
  async handshake<T>(client: Socket, source: string, handshake: () => Promise<T>): Promise<T> {
    const turn = Promise.withResolvers<void>();
    const displaced = Promise.withResolvers<never>();
    displaced.promise.catch(ignore);
    const since = this.#clock();
    let isItsTurn = false;
    const leave = this.handshakes.enter(source, () => {
      isItsTurn = true;
      turn.resolve();
    });
    if (leave === undefined) throw tooManyHandshakes();
    const guest: Guest = {
      isPending: true,
      since,
      displace: () => {
        this.#underWay.remove(source, guest);
        displaced.reject(tooManyHandshakes());
        leave();
      },
    };
    try {
      if (!isItsTurn) await this.#wait(client, source, turn.promise, () => isItsTurn);
      this.#underWay.add(source, guest);
      return await Promise.race([handshake(), displaced.promise]);
    } finally {
      this.#underWay.remove(source, guest);
      leave();
    }
  }

  async #wait(client: Socket, source: string, turn: Promise<void>, isItsTurn: () => boolean): Promise<void> {
    const makeRoom = (): void => {
      for (let i = 0; i < MOST_DISPLACED && !isItsTurn(); i++) {
        const guest = this.#underWay.ofLargest(source) ?? this.#underWay.slowestOf(source, this.#clock());
        if (guest === undefined) return;
        guest.displace();
      }
    };
    const timer = setInterval(makeRoom, ROOM_MS);
    try {
      makeRoom();
      await whileWaited(client, tooManyHandshakes, turn, this.limits.handshakeMs);
    } finally {
      clearInterval(timer);
    }
  }
}

/** How often somebody who waits looks whether others had their time. */
const ROOM_MS = 250;

/** The room may go to others, whose turn comes before. */
const MOST_DISPLACED = 8;

/** An eighth of the places is for sources that have less than a thirty-second part of them. */
const RESERVED = 8;
const FEW = 32;

function variableOf(direction: Direction): string {
  return `CONTRAST_MAX_${direction.toUpperCase()}_CONNECTIONS`;
}

function tooManyConnections(direction: Direction, total: number): MeshProxyError {
  return new MeshProxyError("too_many_connections", "too many connections are open", {
    want: `at most ${total}`,
    hint: `if so many are meant to be, raise ${variableOf(direction)}`,
  });
}

function tooManyHandshakes(): MeshProxyError {
  return new MeshProxyError("too_many_handshakes", "too many TLS handshakes are under way", {
    hint: "if so many are meant to be, raise CONTRAST_MAX_HANDSHAKES or CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
  });
}
