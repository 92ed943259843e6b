import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SetManifestRequestSchema } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Change } from "../../manifest/change.ts";
import { type ChangeSignature, faultOfChange } from "../../manifest/change-signature.ts";
import { type KeyPair, spki } from "../../pki/keys.ts";
import type { AttestedHistory } from "../../manifest/attested-history.ts";
import { CliError } from "../context.ts";
import type { Pin } from "./pin.ts";
import { signChange } from "./sign-change.ts";

/** What workload owners allowed of a change, as `set` sends it: for the Coordinator that has proven itself just now. */
export type Leave = Pick<
  MessageInitShape<typeof SetManifestRequestSchema>,
  "signature" | "signatures" | "signedMeshKey" | "newRootKey"
>;

/** What a change is beside its manifest. */
export interface Followed {
  /** Undefined: there is no manifest yet, and the first set needs nobody's leave. */
  readonly active: AttestedHistory | undefined;
  /** Of a rekey: SHA-256 of the SubjectPublicKeyInfo of the root CA that it brings. */
  readonly newRootKey: Uint8Array | undefined;
}

/**
 * @param keys undefined: there is no owner's key to sign with, and the Coordinator will say so
 * @param where the key comes from
 */
export function ownLeave(
  { active, newRootKey }: Followed,
  manifest: Uint8Array,
  keys: KeyPair | undefined,
  where: string,
): Leave {
  if (active === undefined || keys === undefined) return {};
  const change = changeAfter(active, manifest, { meshKey: active.meshKey, newRootKey });
  return {
    ...rekeyOf(newRootKey),
    signature: { publicKey: spki(keys.publicKey), signature: signChange(keys, where, change) },
    signedMeshKey: change.meshKey,
  };
}

/**
 * A signature that was made elsewhere does not say what it is over. So all are tried on the mesh CA of today and on that of
 * the last `verify`: then the Coordinator can say that they came too late.
 *
 * @param signatures at least one
 * @throws CliError another_deployment
 */
export function carriedLeave(
  { active, newRootKey }: Followed,
  manifest: Uint8Array,
  signatures: readonly ChangeSignature[],
  { pin, where }: { readonly pin: Pin | undefined; readonly where: string | undefined },
): Leave {
  if (active === undefined) {
    throw new CliError("another_deployment", "a signed change follows another, and this Coordinator has no manifest", {
      where,
      hint: "its state was lost or replaced; the first manifest of a deployment is set without a signature",
    });
  }
  const meshKey = signedMeshKey(signatures, [active.meshKey, pin?.meshKey], (key) =>
    changeAfter(active, manifest, { meshKey: key, newRootKey }),
  );
  const [signature, ...others] = signatures;
  return {
    ...rekeyOf(newRootKey),
    ...(signature === undefined ? {} : { signature }),
    signatures: others,
    ...(meshKey === undefined ? {} : { signedMeshKey: Buffer.from(meshKey, "hex") }),
  };
}

/** @returns the first of the mesh CA keys with which one of the signatures is over the change, hex */
export function signedMeshKey(
  signatures: readonly ChangeSignature[],
  keys: readonly (string | undefined)[],
  changeWith: (meshKey: string) => Change,
): string | undefined {
  return keys.find((key) => key !== undefined && signatures.some((one) => signs(one, changeWith(key))));
}

function signs(signature: ChangeSignature, change: Change): boolean {
  const owner = { keys: [sha256Hex(signature.publicKey)], threshold: 1 };
  return faultOfChange(owner, change, [signature]) === undefined;
}

function changeAfter(
  { latest }: AttestedHistory,
  manifest: Uint8Array,
  { meshKey, newRootKey }: { readonly meshKey: string; readonly newRootKey: Uint8Array | undefined },
): Change & { readonly meshKey: Buffer } {
  return { manifest, previous: Buffer.from(latest, "hex"), meshKey: Buffer.from(meshKey, "hex"), newRootKey };
}

function rekeyOf(newRootKey: Uint8Array | undefined): Pick<Leave, "newRootKey"> {
  return newRootKey === undefined ? {} : { newRootKey };
}
