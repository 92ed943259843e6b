/** What the history is made of: immutable records by content, and one pointer that moves. */
export interface Store {
  /** Whether several Coordinators have it at once. */
  readonly shared: boolean;
  /**
   * @param digest SHA-256 of the record, hex
   * @throws Refusal `damaged_state` where the record is missing or is not what its name says, `unknown_state_version`; a
   *   shared store's methods all throw `state_unavailable` and `state_forbidden`, too
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
   * @returns the digests of all records of a kind, in no order; what they hold is not checked
   * @throws Refusal `damaged_state`
   */
  list(kind: RecordKind): Promise<string[]>;
  /** Removes a record that nothing names. @throws Refusal `state_not_written` */
  remove(kind: RecordKind, digest: string): Promise<void>;
  /**
   * @returns undefined where it was never moved
   * @throws Refusal `damaged_state`, `unknown_state_version`
   */
  latest(): Promise<Buffer | undefined>;
  /** @throws Refusal `conflict` where the pointer is not `expected`, and what `latest` and `put` throw */
  compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void>;
  /**
   * Removes what nothing names and nobody has put for a while; undefined where the store leaves it.
   *
   * @param latest the pointer by which `named` was found out: where it is another by now, nothing is removed
   * @returns how many objects were removed
   */
  sweep?(latest: Buffer, named: Named): Promise<number>;
  /**
   * Tells each time the pointer is found to be another than this store last read or wrote: somebody else moved, damaged
   * or removed it.
   *
   * @returns what ends it
   */
  watch(onChange: () => void): () => void;
}

/**
 * - `pointers`: every pointer that there was: each names the one before it
 * - `consents`: what an owner allowed of a change that lacks others' leave
 * - `annexes`: what transitions name beside manifests (manifest/annex.ts)
 * - `secrets`: ciphertexts that the annex in force names, and those that one that waits for signatures would name
 */
export const RECORD_KINDS = [
  "manifests",
  "policies",
  "transitions",
  "seedshares",
  "pointers",
  "consents",
  "annexes",
  "secrets",
] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/** Digests of the records that have to stay. */
export type Named = Readonly<Record<RecordKind, ReadonlySet<string>>>;
