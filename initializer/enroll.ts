import type { Attester } from "../attestation/evidence.ts";
import { MeshAPI, type NewMeshCertResponse } from "../api/meshapi_pb.ts";
import { ChannelClient } from "../channel/client.ts";
import { type KeyPair, privateKeyPem } from "../pki/keys.ts";
import type { PublishedFile } from "./publish.ts";

const HANDSHAKE_MS = 20_000;
const CALL_MS = 30_000;

/** Three certificates and a secret have 4 KiB. Whoever answers has not been verified. */
const ANSWER_BYTES = 256 * 1024;

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

/**
 * Asks what is trusted now, without evidence. The answer is nobody's word: whoever stands in between can make this program
 * ask for a certificate, or not, and could do that before.
 *
 * @param keys anybody's
 * @returns as `trustDigest`
 * @throws ChannelError, RemoteError
 */
export async function askTrust(target: string, keys: KeyPair, now: () => Date): Promise<Buffer> {
  const client = new ChannelClient({ target, keys, handshakeMs: HANDSHAKE_MS, answerBytes: ANSWER_BYTES });
  try {
    const { digest } = await client.call(MeshAPI.method.currentTrust, {}, new Date(now().getTime() + CALL_MS));
    return Buffer.from(digest);
  } finally {
    client.close();
  }
}

/**
 * The files of the shared volume (docs/design.md §2).
 *
 * @param keyMode of the secret ones
 * @param previous the mesh CAs of before to trust, PEM: whoever names some has to take them away when their time is over
 */
export function filesOf(
  response: NewMeshCertResponse,
  keys: KeyPair,
  keyMode: number,
  previous: readonly string[] = [],
): PublishedFile[] {
  const open = 0o444;
  const files: PublishedFile[] = [
    { name: "certChain.pem", content: response.certChain, mode: open },
    { name: "key.pem", content: privateKeyPem(keys.privateKey), mode: keyMode },
    { name: "mesh-ca.pem", content: [response.meshCaCert, ...previous].join(""), mode: open },
    { name: "coordinator-root-ca.pem", content: response.rootCaCert, mode: open },
  ];
  if (response.workloadSecretSeed !== undefined) {
    const seed = Buffer.from(response.workloadSecretSeed).toString("hex");
    files.push({ name: "workload-secret-seed", content: seed, mode: keyMode });
  }
  return files;
}
