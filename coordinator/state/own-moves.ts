import { sha256Hex } from "../../bytes/sha256.ts";
import type { RecordKind, Store } from "../../store/store.ts";

/**
 * The store, as the guard of the state uses it: it knows which pointer this process is just putting there, so that who
 * looks at the store meanwhile does not take it for somebody else's.
 */
export class OwnMoves implements Store {
  readonly #store: Store;
  readonly #monotonic: () => number;
  #underWay: string | undefined;
  #swappedAt = -Infinity;

  constructor(store: Store, monotonic: () => number) {
    this.#store = store;
    this.#monotonic = monotonic;
  }

  get shared(): boolean {
    return this.#store.shared;
  }

  /** SHA-256 of the pointer that is being put there, hex. */
  get underWay(): string | undefined {
    return this.#underWay;
  }

  /** When the last move that was made began. */
  get swappedAt(): number {
    return this.#swappedAt;
  }

  /** What was moved is in force, or given up. */
  settle(): void {
    this.#underWay = undefined;
  }

  async compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void> {
    const began = this.#monotonic();
    this.#underWay = sha256Hex(next);
    await this.#store.compareAndSwapLatest(expected, next);
    this.#swappedAt = began;
  }

  get(kind: RecordKind, digest: string): Promise<Buffer> {
    return this.#store.get(kind, digest);
  }

  put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    return this.#store.put(kind, bytes);
  }

  list(kind: RecordKind): Promise<string[]> {
    return this.#store.list(kind);
  }

  remove(kind: RecordKind, digest: string): Promise<void> {
    return this.#store.remove(kind, digest);
  }

  latest(): Promise<Buffer | undefined> {
    return this.#store.latest();
  }

  watch(onChange: () => void): () => void {
    return this.#store.watch(onChange);
  }
}
