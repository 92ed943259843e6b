/** Work that happens one after the other, in the order in which it was asked for. What fails does not hold up the rest. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    // The caller handles a failure; the next in turn only waits for it.
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
