import type { Manifest } from "../../manifest/manifest.ts";
import type { AnnexInForce } from "./annex-in-force.ts";
import type { KeyPair } from "../../pki/keys.ts";
import { type Authority, createAuthority } from "./authority.ts";
import type { PreviousMesh } from "./overlap.ts";
import type { Latest } from "./pointer.ts";
import type { SeedShares } from "./seed-shares.ts";
import type { SeedEngine } from "./seed.ts";

/** What is in force, with its secrets. Immutable: a change makes another one. */
export interface Snapshot {
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes, hex. */
  readonly manifestDigest: string;
  readonly latest: Latest;
  /** Undefined: nothing was ever amended. */
  readonly annex: AnnexInForce | undefined;
  /** SHA-256 of the transitions before the latest, hex, that nothing followed but uses of leaves to format. */
  readonly unsigned: readonly string[];
  readonly seed: SeedEngine;
  readonly seedShares: SeedShares;
  readonly authority: Authority;
  /** The mesh CAs of before that are still trusted, the latest first; those whose time is over, too. */
  readonly previousMeshes: readonly PreviousMesh[];
  /** When this generation began to issue certificates. */
  readonly began: Date;
  /** How many manifests this history has: amendments do not count. */
  readonly generation: number;
  /** The transition that made the seed, as it is stored; undefined: the first one did. */
  readonly rekey: Uint8Array | undefined;
}

/** The certificate authority of a snapshot to be. */
export function authorityOf(
  { manifest, manifestDigest, seed, generation }: Pick<Snapshot, "manifest" | "manifestDigest" | "seed" | "generation">,
  meshKey: KeyPair,
  now: Date,
): Authority {
  const { certificateLifetimeMs } = manifest;
  const mesh = { number: generation, manifest: manifestDigest };
  return createAuthority({ rootKey: seed.rootKey, meshKey, generation: mesh, certificateLifetimeMs }, now);
}
