import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { encodeTransition, type TransitionVersion } from "../../manifest/transition.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { movePointer, readLatestInsecure, readSeedShares, readTransition, storeSeedShares } from "./history.ts";
import type { LatestInsecure } from "./pointer.ts";
import { decodeRecord, encodeRecord } from "../../store/record.ts";
import type { SeedShares } from "./seed-shares.ts";
import type { SeedEngine } from "./seed.ts";
import { RECORD_KINDS, type RecordKind, type Store } from "../../store/store.ts";

/** For tests: a host that writes into a state directory what it likes, without asking for the lock. */
export class HostileStore implements Store {
  readonly shared = false;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    for (const kind of RECORD_KINDS) mkdirSync(join(directory, kind), { recursive: true });
  }

  async get(kind: RecordKind, digest: string): Promise<Buffer> {
    return decodeRecord(kind, readFileSync(join(this.#directory, kind, digest)), digest);
  }

  async put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    const digest = sha256Hex(bytes);
    writeFileSync(join(this.#directory, kind, digest), encodeRecord(kind, bytes));
    return digest;
  }

  async list(kind: RecordKind): Promise<string[]> {
    return readdirSync(join(this.#directory, kind));
  }

  async remove(kind: RecordKind, digest: string): Promise<void> {
    rmSync(join(this.#directory, kind, digest), { force: true });
  }

  async latest(): Promise<Buffer> {
    return decodeRecord("latest", readFileSync(join(this.#directory, "latest")), "latest");
  }

  async compareAndSwapLatest(_expected: Buffer | undefined, next: Buffer): Promise<void> {
    writeFileSync(join(this.#directory, "latest"), encodeRecord("latest", next));
  }

  watch(): () => void {
    return () => undefined;
  }
}

/** The host can read all that is on the disk. */
export async function readShares(store: Store): Promise<SeedShares> {
  const latest = await readLatestInsecure(store);
  if (latest === undefined) throw new Error("there is no history");
  return readSeedShares(store, (await readTransition(store, latest.transition)).seedShares);
}

export interface MadeUpStep {
  readonly manifest: Uint8Array;
  readonly policies: readonly Uint8Array[];
  readonly seedShares: SeedShares;
  /** Of what it follows, hex; undefined: it is the first. */
  readonly meshKey?: string;
  readonly signatures?: readonly ChangeSignature[];
  /** In place of the seed's own, hex. */
  readonly rootKey?: string;
  readonly version?: TransitionVersion;
}

/** A step that is correct in every other way, signed with the seed that the host has. @param before what it follows */
export async function makeUp(
  store: Store,
  seed: SeedEngine,
  before: LatestInsecure | undefined,
  step: MadeUpStep,
): Promise<LatestInsecure> {
  for (const policy of step.policies) await store.put("policies", policy);
  const record = encodeTransition({
    version: step.version ?? 2,
    manifest: await store.put("manifests", step.manifest),
    previous: before?.transition,
    seedShares: await storeSeedShares(store, step.seedShares),
    rootKey: step.rootKey ?? toHex(spkiDigest(seed.rootKey.publicKey)),
    meshKey: step.meshKey,
    signatures: step.signatures ?? [],
  });
  const transition = await store.put("transitions", record);
  const meshKey = "ee".repeat(32);
  return movePointer(store, before, { transition, meshKey }, seed.historyKey.privateKey);
}
