import { MeshAPI } from "../../api/meshapi_pb.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { ChannelClient } from "../../channel/client.ts";
import { generateEcKey } from "../../pki/keys.ts";

const HANDSHAKE_MS = 20_000;
const CALL_MS = 30_000;
const ANSWER_BYTES = 64 * 1024;

/**
 * Uses up a leave to format a volume: attests this VM to the Coordinator, which answers when it is in the history.
 *
 * @throws ChannelError, RemoteError (`no_format_grant`), and whatever the TEE refuses
 */
export async function useFormatGrant(
  target: string,
  attester: Attester,
  volume: string,
  now: () => Date,
): Promise<void> {
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target, keys, attester, handshakeMs: HANDSHAKE_MS, answerBytes: ANSWER_BYTES });
  try {
    await client.call(MeshAPI.method.useFormatGrant, { volume }, new Date(now().getTime() + CALL_MS));
  } finally {
    client.close();
  }
}
