import { createHash, sign, X509Certificate } from "node:crypto";
import { UserAPI } from "../api/userapi_pb.ts";
import type { ChannelClient } from "../channel/client.ts";
import { RemoteError } from "../channel/error.ts";
import { changeToSign } from "../manifest/change.ts";
import { type KeyPair, spki, spkiDigest } from "../pki/keys.ts";

/** For tests: what a request to set a manifest has to carry of a workload owner. */
export interface Leave {
  readonly signature?: { readonly publicKey: Uint8Array; readonly signature: Uint8Array };
  readonly signedMeshKey?: Uint8Array;
}

/** @returns nothing where no manifest is set: the first set needs nobody's leave */
export async function leaveFor(client: ChannelClient<unknown>, keys: KeyPair, manifest: Uint8Array): Promise<Leave> {
  const answer = await client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 20_000)).catch((error) => {
    if (error instanceof RemoteError && error.code === "no_manifest") return undefined;
    throw error;
  });
  const previous = answer?.history.at(-1)?.transition;
  if (answer === undefined || previous === undefined) return {};
  const meshKey = keyDigestOf(answer.meshCaCert);
  return {
    signature: {
      publicKey: spki(keys.publicKey),
      signature: sign("sha256", changeToSign({ manifest, previous, meshKey }), keys.privateKey),
    },
    signedMeshKey: meshKey,
  };
}

/** @param pem a certificate, of the mesh CA or of the root CA */
export function keyDigestOf(pem: string): Uint8Array {
  return spkiDigest(new X509Certificate(pem).publicKey);
}

/** An amendment that this owner signed, after what is in force at this moment. */
export async function signAmendment(client: ChannelClient<unknown>, keys: KeyPair, annex: Uint8Array) {
  const { history, meshCaCert } = await client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 20_000));
  const previous = history.at(-1)?.transition ?? Buffer.alloc(0);
  const meshKey = keyDigestOf(meshCaCert);
  // Amendments keep the manifest of the step before, and do not send it again.
  const manifest = history.findLast((record) => record.manifest.length > 0)?.manifest ?? Buffer.alloc(0);
  const signed = changeToSign({ manifest, previous, meshKey, annex: createHash("sha256").update(annex).digest() });
  return {
    annex,
    latestTransition: previous,
    signedMeshKey: meshKey,
    signatures: [{ publicKey: spki(keys.publicKey), signature: sign("sha256", signed, keys.privateKey) }],
  };
}
