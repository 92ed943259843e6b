import { createHash } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { toHex } from "../../bytes/encode.ts";
import { type Annex, encodeAnnex, type FormatGrants, LARGEST_SECRETS, parseAnnex } from "../../manifest/annex.ts";
import { faultOfAmendment } from "../../manifest/annex-changes.ts";
import { type ChangeSignature, onePerKey } from "../../manifest/change-signature.ts";
import { ManifestError } from "../../manifest/error.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Fault } from "../../runtime/fault.ts";
import type { Store } from "../../store/store.ts";
import { type AnnexInForce, annexInForce, annexOf, secretsOf } from "./annex-in-force.ts";
import { requireOwnersLeave, tooFewSignatures } from "./authorize.ts";
import { advance, storeSeedShares } from "./history.ts";
import { allConsents, type Given, keepConsents, type PendingChange, subjectOf } from "./pending.ts";
import { requireLatest } from "./require-latest.ts";
import { readSealed, sizeOfSealed } from "./sealed-secrets.ts";
import type { Snapshot } from "./snapshot.ts";

/** Puts another annex in force. Manifest, seed and mesh CA stay, and with them every certificate. */

export interface AmendRequest {
  /** The whole annex that is to be in force. */
  readonly annex: Uint8Array;
  /** SHA-256 of the transition that must be the latest; undefined: any. */
  readonly latestTransition: Uint8Array | undefined;
  /** SHA-256 of the caller's SubjectPublicKeyInfo, hex. */
  readonly callerKey: string;
  /** Of workload owners, over this amendment. */
  readonly signatures: readonly ChangeSignature[];
  /** The mesh CA key that the signatures are said to be over; undefined: nobody says. */
  readonly signedMeshKey: Uint8Array | undefined;
}

export interface AmendResult {
  readonly before: Snapshot;
  readonly snapshot: Snapshot;
  /** The transition that was made, as it is stored. */
  readonly record: Uint8Array;
  /** SHA-256 of the keys of the workload owners who allowed it, hex; none where a leave was used. */
  readonly owners: readonly string[];
}

/**
 * As `makeChange`: what is stored is stored when this returns, and the caller puts the snapshot in force at once.
 *
 * @throws Refusal of many codes; nothing has changed then
 */
export async function makeAmendment(before: Snapshot, request: AmendRequest, store: Store): Promise<AmendResult> {
  requireLatest(before.latest, request.latestTransition);
  const leave = await leaveFor(before, request, store);
  if (leave.missing > 0) throw tooFewSignatures(before.manifest, leave);
  const annex = requireUsable(before, request.annex);
  await requireSealed(before, annex, store);
  return { ...(await putInForce(before, annex, leave.signatures, store)), owners: leave.owners };
}

/**
 * Keeps what owners allowed of an amendment, where it takes more of them. What is kept could be in force: it is judged as if
 * it were to be.
 *
 * @returns undefined where there are enough, with those who signed before
 */
export async function leaveAmendmentPending(
  before: Snapshot,
  request: AmendRequest,
  store: Store,
): Promise<PendingChange | undefined> {
  requireLatest(before.latest, request.latestTransition);
  const leave = await leaveFor(before, request, store);
  if (leave.missing === 0) return undefined;
  const annex = requireUsable(before, request.annex);
  const size = annex.bytes.length + (await requireSealed(before, annex, store));
  await store.put("annexes", annex.bytes);
  return keepConsents(store, before, givenOf(before, request), size);
}

export interface GrantRequest {
  /** The caller's WorkloadSecretID, by its verified policy; undefined: it has none. */
  readonly workload: string | undefined;
  /** The name of the volume. */
  readonly volume: string;
}

/**
 * Counts a leave to format a volume as used. It is in the history when this returns, so nobody uses it twice: of two
 * Coordinators that do so at once, one is told `conflict`.
 *
 * @throws Refusal `no_format_grant`, `conflict`, `state_not_written`
 */
export async function useGrant(before: Snapshot, request: GrantRequest, store: Store): Promise<AmendResult> {
  const after = withUse(annexOf(before), request);
  return { ...(await putInForce(before, annexInForce(encodeAnnex(after), after), [], store)), owners: [] };
}

/** @throws Refusal `no_format_grant` */
export function withUse(annex: Annex, { workload, volume }: GrantRequest): Annex {
  const volumes = workload === undefined ? undefined : annex.volumes.get(workload);
  const grants = volumes?.get(volume);
  if (workload === undefined || volumes === undefined || grants === undefined || grants.used >= grants.allowed) {
    throw noGrant(workload, volume, grants);
  }
  const used = new Map([...volumes, [volume, { allowed: grants.allowed, used: grants.used + 1 }]]);
  return { secrets: annex.secrets, volumes: new Map([...annex.volumes, [workload, used]]) };
}

function noGrant(workload: string | undefined, volume: string, grants: FormatGrants | undefined): Refusal {
  const place = workload === undefined ? "a policy without a WorkloadSecretID" : `the workload ${workload}`;
  return new Refusal(
    "no_format_grant",
    "no owner allowed this workload to format this volume, or every leave is used",
    {
      where: `${place}, volume ${volume}`,
      got: grants === undefined ? "no leave" : `${grants.allowed} allowed, ${grants.used} used`,
      want: "one leave more, signed by workload owners",
      hint:
        "if the volume is new, or its data may be lost, allow it by `contrast volume allow-format`; if it should have data, " +
        "find out who wiped it",
    },
  );
}

async function putInForce(
  before: Snapshot,
  annex: AnnexInForce,
  signatures: readonly ChangeSignature[],
  store: Store,
): Promise<Pick<AmendResult, "before" | "snapshot" | "record">> {
  const { seed, seedShares, manifestDigest, authority } = before;
  await store.put("annexes", annex.bytes);
  const meshKey = toHex(spkiDigest(authority.meshKey.publicKey));
  const step = {
    manifest: manifestDigest,
    seedShares: await storeSeedShares(store, seedShares),
    rootKey: toHex(spkiDigest(seed.rootKey.publicKey)),
    meshKey,
    annex: annex.digest,
    signatures,
  };
  const historyKey = seed.historyKey.privateKey;
  const { latest, record } = await advance(store, before.latest, step, { meshKey, historyKey });
  const unsigned = signatures.length === 0 ? [...before.unsigned, before.latest.transition] : [];
  return { before, snapshot: { ...before, latest, annex, unsigned }, record };
}

/** @throws Refusal `invalid_annex` */
function requireUsable(before: Snapshot, bytes: Uint8Array): AnnexInForce {
  let annex: Annex;
  try {
    annex = parseAnnex(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw invalid({ where: error.where ?? "$", got: error.got ?? "", want: error.want ?? "" }, error.message);
  }
  const fault = faultOfAmendment(annexOf(before), annex);
  if (fault !== undefined) throw invalid(fault, "the annex is not what an amendment may make of the one in force");
  return annexInForce(bytes, annex);
}

function invalid({ where, got, want }: Fault, message: string): Refusal {
  const hint = "run `contrast verify`, then let the `contrast` of this version make the amendment anew";
  return new Refusal("invalid_annex", message, { where, got, want, hint });
}

/**
 * Every ciphertext that the annex is the first to name is there, and is of that name, version and readers. It is put again:
 * it may be another Coordinator that put it, and garbage collection has to see that it is about to be named.
 *
 * @returns the bytes of those records
 * @throws Refusal `not_sealed`, `invalid_annex` where all values together are too large
 */
async function requireSealed(before: Snapshot, { annex }: AnnexInForce, store: Store): Promise<number> {
  const known = new Set(secretsOf(annexOf(before)).map(({ sealed }) => sealed));
  let added = 0;
  let total = 0;
  for (const secret of secretsOf(annex)) {
    if (known.has(secret.sealed)) {
      total += await sizeOfSealed(secret.sealed, store);
      continue;
    }
    const found = await readSealed(before.seed, secret, store);
    if (found === undefined) {
      throw new Refusal("not_sealed", "the annex names a ciphertext that is not there, or not of this secret", {
        where: `version ${secret.version} of the secret ${secret.name}`,
        got: secret.sealed,
        want: "one that this deployment sealed for this name, version and readers",
        hint: "set the secret again by `contrast secret set`: what is sealed is kept for an hour, and until the next rekey",
      });
    }
    await store.put("secrets", found.record);
    added += found.record.length;
    total += found.value.reveal().length;
  }
  if (total <= LARGEST_SECRETS) return added;
  const fault = { where: "$.Secrets", got: `values of ${total} bytes`, want: `at most ${LARGEST_SECRETS} together` };
  throw invalid(fault, "all secrets together are too large");
}

/**
 * What owners allowed of the amendment: those whose signatures came along, and where these are too few, others whose consent
 * is stored.
 *
 * @throws what `requireOwnersLeave` throws
 */
async function leaveFor(active: Snapshot, request: AmendRequest, store: Store): Promise<PendingChange> {
  const { callerKey, signatures, signedMeshKey } = request;
  const given = givenOf(active, request);
  const change = {
    manifestDigest: Buffer.from(active.manifestDigest, "hex"),
    previous: Buffer.from(active.latest.transition, "hex"),
    meshKey: spkiDigest(active.authority.meshKey.publicKey),
    annex: createHash("sha256").update(request.annex).digest(),
  };
  const { owners, missing } = requireOwnersLeave(active.manifest, callerKey, { change, signatures, signedMeshKey });
  return missing === 0 ? { ...given, subject: subjectOf(given), owners, missing } : allConsents(store, active, given);
}

function givenOf({ manifestDigest }: Snapshot, { annex, signatures }: AmendRequest): Given {
  return { manifest: manifestDigest, annex: Buffer.from(annex), signatures: onePerKey(signatures), revoke: false };
}
