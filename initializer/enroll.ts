import type { Attester } from "../attestation/evidence.ts";
import { MeshAPI, type NewMeshCertResponse } from "../api/meshapi_pb.ts";
import { ChannelClient } from "../channel/client.ts";
import { type KeyPair, privateKeyPem } from "../pki/keys.ts";
import { LARGEST_SECRETS } from "../manifest/annex.ts";
import type { PublishedFile } from "./publish.ts";
import { SECRETS } from "./secret-files.ts";

const HANDSHAKE_MS = 20_000;
const CALL_MS = 30_000;

/** The workload's own secret, which comes of the seed. */
const OWN_SECRET = "workload-secret-seed";

/** Three certificates and the workload's own secrets have 4 KiB. Whoever answers has not been verified. */
const TRUST_BYTES = 256 * 1024;
/** Each secret of an annex has a name beside its value. */
const ANSWER_BYTES = TRUST_BYTES + LARGEST_SECRETS;

/**
 * One try to get certificates: attests this VM to the Coordinator with the workload's new key.
 *
 * @throws ChannelError, RemoteError, and whatever the TEE refuses
 */
export async function enroll(
  target: string,
  attester: Attester,
  keys: KeyPair,
  now: () => Date,
): Promise<NewMeshCertResponse> {
  const client = new ChannelClient({ target, keys, attester, handshakeMs: HANDSHAKE_MS, answerBytes: ANSWER_BYTES });
  try {
    return await client.call(MeshAPI.method.newMeshCert, {}, new Date(now().getTime() + CALL_MS));
  } finally {
    client.close();
  }
}

/** What is in force at a Coordinator, for who has to know whether that is something else than before. */
export interface InForce {
  /** As `trustDigest`. */
  readonly trust: Uint8Array;
  /** SHA-256 of the annex, which says who reads which secrets; hexadecimal, empty where there is none. */
  readonly annex: string;
}

/**
 * Asks what is in force now, without evidence. The answer is nobody's word: whoever stands in between can make this program
 * ask for a certificate, or not, and could do that before.
 *
 * @param keys anybody's
 * @throws ChannelError, RemoteError
 */
export async function askInForce(target: string, keys: KeyPair, now: () => Date): Promise<InForce> {
  const client = new ChannelClient({ target, keys, handshakeMs: HANDSHAKE_MS, answerBytes: TRUST_BYTES });
  try {
    const { digest, annex } = await client.call(MeshAPI.method.currentTrust, {}, new Date(now().getTime() + CALL_MS));
    return { trust: digest, annex: Buffer.from(annex).toString("hex") };
  } finally {
    client.close();
  }
}

/**
 * The files of the shared volume (docs/design.md §2).
 *
 * @param keyMode of the secret ones
 * @param secrets those of the annex
 * @param previous the mesh CAs of before to trust, PEM: whoever names some has to take them away when their time is over
 */
export function filesOf(
  response: NewMeshCertResponse,
  keys: KeyPair,
  keyMode: number,
  secrets: readonly PublishedFile[],
  previous: readonly string[],
): PublishedFile[] {
  const open = 0o444;
  const files: PublishedFile[] = [
    { name: "certChain.pem", content: response.certChain, mode: open },
    { name: "key.pem", content: privateKeyPem(keys.privateKey), mode: keyMode },
    { name: "mesh-ca.pem", content: [response.meshCaCert, ...previous].join(""), mode: open },
    { name: "coordinator-root-ca.pem", content: response.rootCaCert, mode: open },
  ];
  if (response.workloadSecretSeed !== undefined) {
    files.push(...seedFiles(response, response.workloadSecretSeed, keyMode));
  }
  return [...files, ...secrets];
}

/** The secret in force, under its version, and in the folder of secrets; and those of before rekeys that can still be read. */
function seedFiles(response: NewMeshCertResponse, seed: Uint8Array, mode: number): PublishedFile[] {
  const { workloadSecretVersion: version, earlierWorkloadSecrets: earlier } = response;
  const file = (name: string, secret: Uint8Array): PublishedFile => {
    return { name, content: Buffer.from(secret).toString("hex"), mode };
  };
  // A Coordinator of before there were versions says none.
  const versions = version === 0 ? [] : [{ version, seed }, ...earlier.filter((one) => one.version !== version)];
  return [
    file(OWN_SECRET, seed),
    ...versions.map((one) => file(`${OWN_SECRET}.${one.version}`, one.seed)),
    file(`${SECRETS}/${OWN_SECRET}`, seed),
  ];
}
