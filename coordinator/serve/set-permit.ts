import type { IncomingHttpHeaders } from "node:http2";
import { decodeBounded } from "../../api/bounded-message.ts";
import { Refusal } from "../../api/refusal.ts";
import { PERMIT_HEADER } from "../../api/permit.ts";
import { type ManifestSignature, type SetManifestPermit, SetManifestPermitSchema } from "../../api/userapi_pb.ts";
import { MOST_SIGNATURES } from "../../manifest/change-signature.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { requireOwnerKey, requireOwnersLeave } from "../state/authorize.ts";
import type { StateGuard } from "../state/state-guard.ts";

/**
 * Whoever sends a manifest with its policies is asked who he is before they are taken: they may have megabytes. He is an
 * owner, or has an owner's signature with him; or there is no owner yet. It decides about memory, so one owner is enough
 * whatever the threshold. Whether the manifest becomes the active one is decided when it is there.
 *
 * @param callerKey SHA-256 of the connection's SubjectPublicKeyInfo, hex
 * @throws Refusal `not_owner`, `immutable`, `signature_outdated`, `bad_signature`, `needs_recovery`
 */
export function requireMaySetManifest(
  guard: Pick<StateGuard, "phase" | "changeable">,
  callerKey: string,
  headers: IncomingHttpHeaders,
): void {
  if (guard.phase === "empty") return;
  const { manifest, latest, authority } = guard.changeable();
  const permit = permitOf(headers);
  const { manifestDigest, signedMeshKey } = permit ?? {};
  const newRootKey = newRootKeyOf(permit ?? {});
  const signatures = signaturesOf(permit ?? {});
  if (signatures.length === 0 || manifestDigest?.length !== 32) {
    requireOwnerKey(manifest, callerKey, "caller's");
    return;
  }
  const previous = Buffer.from(latest.transition, "hex");
  const change = { manifestDigest, previous, meshKey: spkiDigest(authority.meshKey.publicKey), newRootKey };
  const signedFor = signedMeshKey === undefined || signedMeshKey.length === 0 ? undefined : signedMeshKey;
  requireOwnersLeave(manifest, callerKey, { change, signatures, signedMeshKey: signedFor });
}

/**
 * The same of an annex, which follows what is in force.
 *
 * @throws Refusal `not_owner`, `immutable`, `signature_outdated`, `bad_signature`, `needs_recovery`, `no_manifest`
 */
export function requireMayAmend(
  guard: Pick<StateGuard, "changeable">,
  callerKey: string,
  headers: IncomingHttpHeaders,
): void {
  const { manifest, manifestDigest, latest, authority } = guard.changeable();
  const permit = permitOf(headers);
  const signatures = signaturesOf(permit ?? {});
  if (signatures.length === 0 || permit?.annexDigest?.length !== 32) {
    requireOwnerKey(manifest, callerKey, "caller's");
    return;
  }
  const change = {
    manifestDigest: Buffer.from(manifestDigest, "hex"),
    previous: Buffer.from(latest.transition, "hex"),
    meshKey: spkiDigest(authority.meshKey.publicKey),
    annex: permit.annexDigest,
  };
  const signedFor = permit.signedMeshKey.length === 0 ? undefined : permit.signedMeshKey;
  requireOwnersLeave(manifest, callerKey, { change, signatures, signedMeshKey: signedFor });
}

function permitOf({ [PERMIT_HEADER]: text }: IncomingHttpHeaders): SetManifestPermit | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return decodeBounded(SetManifestPermitSchema, Buffer.from(text, "base64"), MAX_FIELDS);
  } catch {
    return undefined;
  }
}

/** A permit has five, and as many signatures as a transition. */
const MAX_FIELDS = 5 + 3 * (1 + MOST_SIGNATURES);

/**
 * All signatures of a request: the field that earlier versions know has one.
 *
 * @throws Refusal `malformed_request`
 */
export function signaturesOf({
  signature,
  signatures = [],
}: {
  readonly signature?: ManifestSignature | undefined;
  readonly signatures?: readonly ManifestSignature[];
}): readonly ManifestSignature[] {
  const all = [...(signature === undefined ? [] : [signature]), ...signatures];
  if (all.length <= MOST_SIGNATURES) return all;
  throw new Refusal("malformed_request", "the request has more signatures than a change can have", {
    where: "signatures",
    got: String(all.length),
    want: `at most ${MOST_SIGNATURES}`,
  });
}

/**
 * What a rekey would make the root CA key.
 *
 * @returns SHA-256 of its SubjectPublicKeyInfo; undefined: it is no rekey
 * @throws Refusal `malformed_request`
 */
export function newRootKeyOf({ newRootKey }: { readonly newRootKey?: Uint8Array | undefined }): Uint8Array | undefined {
  if (newRootKey === undefined || newRootKey.length === 32) return newRootKey;
  throw new Refusal("malformed_request", "the new root CA key is named by its SHA-256", {
    where: "new_root_key",
    got: `${newRootKey.length} bytes`,
    want: "32 bytes",
  });
}
