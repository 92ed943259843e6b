import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SetManifestRequestSchema } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Change } from "../../manifest/change.ts";
import { type ChangeSignature, faultOfChange } from "../../manifest/change-signature.ts";
import { type KeyPair, spki } from "../../pki/keys.ts";
import type { AttestedHistory } from "./attested-history.ts";
import { CliError } from "../context.ts";
import type { Pin } from "./pin.ts";
import { signChange } from "./sign-change.ts";

/** What workload owners allowed of a change, as `set` sends it: for the Coordinator that has proven itself just now. */
export type Leave = Pick<
  MessageInitShape<typeof SetManifestRequestSchema>,
  "signature" | "signatures" | "signedMeshKey"
>;

/**
 * @param active undefined: the first set needs nobody's leave
 * @param keys undefined: there is no owner's key to sign with, and the Coordinator will say so
 * @param where the key comes from
 */
export function ownLeave(
  active: AttestedHistory | undefined,
  manifest: Uint8Array,
  keys: KeyPair | undefined,
  where: string,
): Leave {
  if (active === undefined || keys === undefined) return {};
  const change = changeAfter(active, manifest, active.meshKey);
  return {
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
  active: AttestedHistory | undefined,
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
  const meshKey = [active.meshKey, pin?.meshKey].find(
    (key) => key !== undefined && signatures.some((one) => signs(one, changeAfter(active, manifest, key))),
  );
  const [signature, ...others] = signatures;
  return {
    ...(signature === undefined ? {} : { signature }),
    signatures: others,
    ...(meshKey === undefined ? {} : { signedMeshKey: Buffer.from(meshKey, "hex") }),
  };
}

function signs(signature: ChangeSignature, change: Change): boolean {
  const owner = { keys: [sha256Hex(signature.publicKey)], threshold: 1 };
  return faultOfChange(owner, change, [signature]) === undefined;
}

function changeAfter({ latest }: AttestedHistory, manifest: Uint8Array, meshKey: string): Change {
  return { manifest, previous: Buffer.from(latest, "hex"), meshKey: Buffer.from(meshKey, "hex") };
}
