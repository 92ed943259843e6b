import { toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { quote } from "../runtime/fault.ts";
import { type Answer, readAnswer, readHistory } from "./answer.ts";
import { Client, type Fetch } from "./client.ts";
import { type Trusted, type Verification, verifySource } from "./deployment.ts";
import { VerifyError } from "./error.ts";
import { documentsOf } from "./records.ts";

/** Verifies a deployment over the HTTP API of its Coordinator, with a nonce of its own. */
export interface LiveOptions extends Omit<Trusted, "nonce" | "at" | "saved"> {
  readonly url: string;
  readonly fetch: Fetch;
  readonly now: () => Date;
  /** Random bytes, of this number. */
  readonly random: (length: number) => Uint8Array;
  /** For all requests together. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal */
export async function verifyLive(options: LiveOptions): Promise<Verification> {
  requirePolicy(options.policy);
  const client = clientOf(options);
  const nonce = options.random(32);
  const answer = await attest(client, nonce);
  const transitions = async () => readHistory(await client.getJson("/v1/history"));
  const source = { answer, transitions, document: documentsOf(client) };
  return verifySource(source, { ...options, nonce, at: options.now(), saved: false });
}

/** @param nonce 32 bytes @returns what was answered; nothing of it is verified */
export async function attest(client: Client, nonce: Uint8Array): Promise<Answer> {
  return readAnswer(await client.post("/v1/attest", { nonce: toHex(nonce) }));
}

export function clientOf({ url, fetch, signal, timeoutMs }: LiveOptions): Client {
  const deadline = AbortSignal.timeout(timeoutMs);
  return new Client({ url, fetch, signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]) });
}

/** @throws VerifyError invalid_option */
export function requirePolicy(policy: string | undefined): void {
  if (policy === undefined || (/^[0-9a-f]{64}$/.test(policy) && fromHex(policy, 32) !== undefined)) return;
  throw new VerifyError("invalid_option", "this is no hash of a policy", {
    where: "policy",
    got: quote(policy),
    want: "64 lower-case hexadecimal digits",
  });
}
