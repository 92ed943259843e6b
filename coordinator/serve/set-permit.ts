import type { IncomingHttpHeaders } from "node:http2";
import { decodeBounded } from "../../api/bounded-message.ts";
import { PERMIT_HEADER } from "../../api/permit.ts";
import { type SetManifestPermit, SetManifestPermitSchema } from "../../api/userapi_pb.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { requireOwnerKey, requireWorkloadOwner } from "../state/authorize.ts";
import type { StateGuard } from "../state/state-guard.ts";

/**
 * Whoever sends a manifest with its policies is asked who he is before they are taken: they may have megabytes. He is an
 * owner, or has an owner's signature with him; or there is no owner yet. It decides about memory. Whether the manifest
 * becomes the active one is decided when it is there.
 *
 * @param callerKey SHA-256 of the connection's SubjectPublicKeyInfo, hex
 * @throws Refusal `not_owner`, `immutable`, `signature_outdated`, `bad_signature`, `needs_recovery`
 */
export function requireMaySetManifest(
  guard: Pick<StateGuard, "phase" | "active">,
  callerKey: string,
  headers: IncomingHttpHeaders,
): void {
  if (guard.phase === "empty") return;
  const { manifest, latest, authority } = guard.active();
  const { manifestDigest, signature, signedMeshKey } = permitOf(headers) ?? {};
  if (signature === undefined || manifestDigest?.length !== 32) {
    requireOwnerKey(manifest, callerKey, "caller's");
    return;
  }
  const previous = Buffer.from(latest.transition, "hex");
  const change = { manifestDigest, previous, meshKey: spkiDigest(authority.meshKey.publicKey) };
  const signedFor = signedMeshKey === undefined || signedMeshKey.length === 0 ? undefined : signedMeshKey;
  requireWorkloadOwner(manifest, callerKey, { change, signature, signedMeshKey: signedFor });
}

function permitOf({ [PERMIT_HEADER]: text }: IncomingHttpHeaders): SetManifestPermit | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return decodeBounded(SetManifestPermitSchema, Buffer.from(text, "base64"), MAX_FIELDS);
  } catch {
    return undefined;
  }
}

/** A permit has five. */
const MAX_FIELDS = 8;
