/** What the history is made of: immutable records by content, and one pointer that moves. */
export interface Store {
  /**
   * @param digest SHA-256 of the record, hex
   * @throws Refusal `damaged_state` where the record is missing or is not what its name says, `unknown_state_version`
   */
  get(kind: RecordKind, digest: string): Promise<Buffer>;
  /**
   * Returns when the record is there to stay.
   *
   * @returns the SHA-256 of the record, hex
   * @throws Refusal `state_not_written`
   */
  put(kind: RecordKind, bytes: Uint8Array): Promise<string>;
  /**
   * @returns undefined where it was never moved
   * @throws Refusal `damaged_state`, `unknown_state_version`
   */
  latest(): Promise<Buffer | undefined>;
  /** @throws Refusal `conflict` where the pointer is not `expected`, and what `latest` and `put` throw */
  compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void>;
  /**
   * Tells each time the pointer is found to be another than this store last read or wrote: somebody else moved, damaged
   * or removed it.
   *
   * @returns what ends it
   */
  watch(onChange: () => void): () => void;
}

export const RECORD_KINDS = ["manifests", "policies", "transitions", "seedshares"] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];
