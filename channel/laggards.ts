/**
 * Peers that keep the server waiting, by source, those first that have done so for longest. Where room is needed, they
 * have to go: nobody holds a place by doing nothing with it, however little that nothing is.
 */
export class Laggards<P extends { readonly source: string }> {
  /** In the order of their arrival, as every Set. */
  readonly #sources = new Map<string, Set<P>>();

  add(peer: P): void {
    const known = this.#sources.get(peer.source);
    if (known === undefined) this.#sources.set(peer.source, new Set([peer]));
    else known.add(peer);
  }

  delete(peer: P): void {
    const known = this.#sources.get(peer.source);
    known?.delete(peer);
    if (known?.size === 0) this.#sources.delete(peer.source);
  }

  /** @returns the one of this source that has kept the server waiting for longest */
  oldestOf(source: string): P | undefined {
    const [oldest] = this.#sources.get(source) ?? [];
    return oldest;
  }

  /** @returns the same, of the source that has most of them */
  oldestOfMost(): P | undefined {
    let most = new Set<P>();
    for (const peers of this.#sources.values()) if (peers.size > most.size) most = peers;
    const [oldest] = most;
    return oldest;
  }
}
