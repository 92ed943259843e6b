/** Who is to be looked at from time to time. */
export interface Visited {
  readonly look: () => void;
}

/** Looks at everybody who is in it, at intervals. While nobody is, there is no timer. */
export class Rounds {
  readonly #intervalMs: number;
  readonly #visited = new Set<Visited>();
  #timer: NodeJS.Timeout | undefined;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  add(visited: Visited): void {
    this.#visited.add(visited);
    this.#timer ??= setInterval(() => this.#visited.forEach((each) => each.look()), this.#intervalMs).unref();
  }

  remove(visited: Visited): void {
    this.#visited.delete(visited);
    if (this.#visited.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
