import type { Socket } from "node:net";
import { KeyedSemaphore } from "../../../runtime/keyed-semaphore.ts";
import type { Direction } from "../../direction.ts";
import { ConnectionFault } from "../fault.ts";
import { type Guest, Guests } from "./guests.ts";
import { HeldBytes } from "./held-bytes.ts";
import { ignore, whileWaited } from "../tcp.ts";
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
   * @throws ConnectionFault `too_many_connections` or `too_many_connections_of_source`
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
      if (guest === undefined) throw new ConnectionFault("too_many_connections");
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
    const isFull = gate.inside >= this.limits[direction].total;
    throw new ConnectionFault(isFull ? "too_many_connections" : "too_many_connections_of_source");
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
   * @throws what the handshake throws, or ConnectionFault `too_many_handshakes` or `client_gone`
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

function tooManyHandshakes(): ConnectionFault {
  return new ConnectionFault("too_many_handshakes");
}
