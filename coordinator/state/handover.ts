import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { admit, type VerifiedClaimant } from "../../manifest/appraise.ts";
import { generationOf, type MeshGeneration } from "../../manifest/generation-extensions.ts";
import { type KeyPair, keyPairOf, spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import type { Authority } from "./authority.ts";
import { requireContinuation, requireCoordinator } from "./authorize.ts";
import { readLatestInsecure } from "./history.ts";
import { type PreviousMesh, previousMeshOf } from "./overlap.ts";
import { type LatestInsecure, parseLatestInsecure, verifyLatest } from "./pointer.ts";
import { SeedEngine } from "./seed.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";
import { readStoredHistory } from "./stored-history.ts";
import { requireContinued, ROLLED_BACK_HINT } from "./take-over.ts";

/** What one Coordinator gives another, so that both have the same in force. */
export interface Handover {
  readonly seed: Secret;
  /** 32 bytes. */
  readonly salt: Uint8Array;
  /** Of the mesh CA: PKCS#8, DER. */
  readonly meshKey: Secret;
  /** PEM: the very certificates, so that all Coordinators answer with the same bytes. */
  readonly rootCa: string;
  readonly meshCa: string;
  /** The pointer to what is in force. */
  readonly pointer: Buffer;
  /** PEM: those that are still trusted, the latest first. */
  readonly previousMeshCas: readonly string[];
  readonly began: Date;
}

export function handoverOf({ seed, authority, latest, previousMeshes, began }: Snapshot): Handover {
  const { rootCa, meshCa, meshKey } = authority;
  const key = new Secret(meshKey.privateKey.export({ type: "pkcs8", format: "der" }));
  const previousMeshCas = previousMeshes.map(({ ca }) => ca);
  return {
    seed: seed.seed,
    salt: seed.salt,
    meshKey: key,
    rootCa,
    meshCa,
    pointer: latest.raw,
    previousMeshCas,
    began,
  };
}

/**
 * Makes of a handover what is in force. Who gave it runs the same program under the same policy (peers/accept-peer.ts): that
 * was decided before the first byte of this was read. Here it is checked that it fits: to the store, whose chain of owners'
 * leave is followed from its first manifest, to itself, and to what was known before.
 *
 * @param giver has to be a Coordinator by the very manifest that it brings: so the owners' minimum TCB holds for it
 * @param known what was in force here; undefined: nothing
 * @throws Refusal `wrong_seed`, `bad_handover`, `stale_state`, `state_rolled_back`, `history_forked`, `not_coordinator`,
 *   `unauthorized_history` and others; EvidenceError as `admit`
 */
export async function openHandover(
  handover: Handover,
  giver: VerifiedClaimant,
  known: Snapshot | undefined,
  options: StateOptions,
): Promise<Snapshot> {
  const { store, now } = options;
  const seed = openSeed(handover);
  const given = parseLatestInsecure(handover.pointer, "the peer's pointer");
  const latest = verifyLatest(given, seed.historyKey.publicKey);
  requireStored(await readLatestInsecure(store), latest, seed.historyKey.publicKey);
  if (known !== undefined) await requireContinued(store, known.latest, latest);
  const { history, ...opened } = await readStoredHistory(latest, seed, options);
  // A pointer can name any other as the one before it. What the owners allowed can't be made up.
  if (known !== undefined) requireContinuation(history, known.latest.transition);
  requireCoordinator(giver.policyHash, admit(giver, opened.manifest));
  now(opened.manifest);
  const { manifest, manifestDigest, generation } = opened;
  const authority = openAuthority(handover, seed, latest, {
    generation: { number: generation, manifest: manifestDigest },
    certificateLifetimeMs: manifest.certificateLifetimeMs,
  });
  const previousMeshes = handover.previousMeshCas.map(openPreviousMesh);
  return { ...opened, latest, seed, authority, previousMeshes, began: handover.began };
}

function openPreviousMesh(pem: string): PreviousMesh {
  try {
    return previousMeshOf(pem);
  } catch {
    throw bad("previous mesh CA", "no certificate", "a certificate, PEM");
  }
}

function openSeed({ seed, salt }: Handover): SeedEngine {
  try {
    return new SeedEngine(seed, salt);
  } catch (error) {
    throw bad("seed", error instanceof Error ? error.message : "no seed", "a seed and a salt");
  }
}

/** What a peer has in force is what the store says: else one of the two is behind. */
function requireStored(stored: LatestInsecure | undefined, given: LatestInsecure, historyKey: KeyObject): void {
  if (stored?.digest === given.digest) return;
  if (stored === undefined || (stored.sequence < given.sequence && isSigned(stored, historyKey))) {
    throw new Refusal("state_rolled_back", "the store has an older pointer than a peer", {
      where: "latest",
      got: stored === undefined ? "none" : `number ${stored.sequence}`,
      want: `number ${given.sequence}`,
      hint: ROLLED_BACK_HINT,
    });
  }
  throw new Refusal("stale_state", "the peer has not what the store says is in force", {
    where: "the peer's pointer",
    got: `number ${given.sequence}, ${given.digest}`,
    want: `number ${stored.sequence}, ${stored.digest}`,
  });
}

function isSigned(pointer: LatestInsecure, historyKey: KeyObject): boolean {
  try {
    verifyLatest(pointer, historyKey);
    return true;
  } catch {
    return false;
  }
}

function openAuthority(
  { meshKey, rootCa, meshCa }: Handover,
  { rootKey }: SeedEngine,
  latest: LatestInsecure,
  rest: Pick<Authority, "generation" | "certificateLifetimeMs">,
): Authority {
  const keys = openMeshKey(meshKey);
  const digest = toHex(spkiDigest(keys.publicKey));
  if (digest !== latest.meshKey) throw bad("mesh CA key", digest, latest.meshKey ?? "none");
  requireCa("root CA", rootCa, rootKey, undefined);
  const { validFromDate: notBefore, validToDate: notAfter } = requireCa("mesh CA", meshCa, keys, rest.generation);
  return { rootCa, meshCa, validity: { notBefore, notAfter }, rootKey, meshKey: keys, ...rest };
}

function openMeshKey(der: Secret): KeyPair {
  try {
    return keyPairOf(createPrivateKey({ key: der.reveal(), format: "der", type: "pkcs8" }));
  } catch {
    // What the parser says may have bytes of the key in it.
    throw bad("mesh CA key", "no private key", "PKCS#8");
  }
}

function requireCa(what: string, pem: string, keys: KeyPair, generation: MeshGeneration | undefined): X509Certificate {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    throw bad(what, "no certificate", "a certificate, PEM");
  }
  const isItsOwn = isEqual(spki(certificate.publicKey), spki(keys.publicKey)) && certificate.verify(keys.publicKey);
  if (!isItsOwn) throw bad(what, "a certificate of another key", "one that its key has signed");
  const got = generationOf(certificate.raw);
  if (got?.number !== generation?.number || got?.manifest !== generation?.manifest) {
    throw bad(what, `generation ${got?.number}, manifest ${got?.manifest}`, `generation ${generation?.number}`);
  }
  return certificate;
}

function bad(where: string, got: string, want: string): Refusal {
  return new Refusal("bad_handover", "what the peer handed over does not fit together", { where, got, want });
}
