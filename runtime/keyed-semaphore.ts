/**
 * How much may happen at once, for one peer and in total. Who finds no room waits, if there is room to wait. Peers take
 * turns: one that has many waiting does not delay another that has one.
 *
 * No clock is in here: whoever enters sees to it that he leaves.
 */
export interface SemaphoreLimits {
  readonly total: number;
  readonly perPeer: number;
  /** How many may wait; none where left out. */
  readonly waiting?: { readonly total: number; readonly perPeer: number };
}

const NOBODY = { total: 0, perPeer: 0 } as const;

export class KeyedSemaphore {
  readonly #limits: SemaphoreLimits;
  readonly #inside = new Tally();
  readonly #waiting = new Tally();
  /** Peers with somebody waiting, in the order of their turns. */
  readonly #queues = new Map<string, Set<Visit>>();

  constructor(limits: SemaphoreLimits) {
    this.#limits = limits;
  }

  get waiting(): number {
    return this.#waiting.total;
  }

  get inside(): number {
    return this.#inside.total;
  }

  /** How many are inside of the peer that has most. */
  get mostOfOnePeer(): number {
    return this.#inside.most;
  }

  /** Whether there is no room for anybody. */
  get isFull(): boolean {
    return this.#inside.total >= this.#limits.total;
  }

  /** Whether this peer has as many inside as it may; others may have room. */
  isFullFor(peer: string): boolean {
    return !this.#inside.hasRoom(peer, { ...this.#limits, total: Infinity });
  }

  /** How many of a peer wait. */
  waitingOf(peer: string): number {
    return this.#queues.get(peer)?.size ?? 0;
  }

  /**
   * @param onEntered called when there is room, maybe at once
   * @returns what gives the room free, or the place in the queue; calling it again does nothing. Undefined, and nothing
   *   is called, where there is no room even to wait
   */
  enter(peer: string, onEntered: () => void): (() => void) | undefined {
    const visit: Visit = { peer, onEntered, state: "waiting" };
    if (this.#inside.hasRoom(peer, this.#limits)) this.#admit(visit);
    else if (this.#waiting.hasRoom(peer, this.#limits.waiting ?? NOBODY)) this.#enqueue(visit);
    else return undefined;
    return () => this.#leave(visit);
  }

  #admit(visit: Visit): void {
    visit.state = "inside";
    this.#inside.add(visit.peer, 1);
    visit.onEntered();
  }

  #enqueue(visit: Visit): void {
    this.#waiting.add(visit.peer, 1);
    const queue = this.#queues.get(visit.peer);
    if (queue === undefined) this.#queues.set(visit.peer, new Set([visit]));
    else queue.add(visit);
  }

  #dequeue(visit: Visit): void {
    this.#waiting.add(visit.peer, -1);
    const queue = this.#queues.get(visit.peer);
    queue?.delete(visit);
    if (queue?.size === 0) this.#queues.delete(visit.peer);
  }

  #leave(visit: Visit): void {
    const { state } = visit;
    visit.state = "left";
    if (state === "waiting") this.#dequeue(visit);
    if (state !== "inside") return;
    this.#inside.add(visit.peer, -1);
    this.#admitNext();
  }

  /** One left, so one may enter. Peers without room of their own are passed over: there are few, for all are inside. */
  #admitNext(): void {
    for (const [peer, queue] of this.#queues) {
      const [first] = queue;
      if (first === undefined || !this.#inside.hasRoom(peer, this.#limits)) continue;
      this.#dequeue(first);
      // To the end of the turns.
      if (this.#queues.delete(peer)) this.#queues.set(peer, queue);
      this.#admit(first);
      return;
    }
  }
}

interface Visit {
  readonly peer: string;
  readonly onEntered: () => void;
  state: "waiting" | "inside" | "left";
}

class Tally {
  readonly #counts = new Map<string, number>();
  total = 0;

  get most(): number {
    let most = 0;
    for (const count of this.#counts.values()) most = Math.max(most, count);
    return most;
  }

  hasRoom(peer: string, { total, perPeer }: { readonly total: number; readonly perPeer: number }): boolean {
    return this.total < total && (this.#counts.get(peer) ?? 0) < perPeer;
  }

  add(peer: string, change: 1 | -1): void {
    const count = (this.#counts.get(peer) ?? 0) + change;
    if (count === 0) this.#counts.delete(peer);
    else this.#counts.set(peer, count);
    this.total += change;
  }
}
