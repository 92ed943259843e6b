import { Capabilities } from "../../api/http/answers.ts";
import { VerifyError } from "../../verifier/error.ts";
import { clientOf } from "../../verifier/live.ts";
import type { Context } from "../context.ts";
import { liveOptions } from "../workspace/http-deployment.ts";

/** @returns what answers there says of itself @throws VerifyError */
export async function capabilitiesAt(context: Context, url: string): Promise<Capabilities> {
  const waiting = context.progress(`waiting for the Coordinator at ${url}`);
  try {
    const client = clientOf(liveOptions(context, url, { manifest: new Uint8Array() }));
    const { data } = Capabilities.safeParse(await client.getJson("/v1/capabilities"));
    if (data !== undefined) return data;
    const where = "GET /v1/capabilities";
    throw new VerifyError("unexpected_answer", "the answer is not what this API answers", { where });
  } finally {
    waiting.end();
  }
}
