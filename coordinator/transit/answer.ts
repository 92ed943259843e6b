import type { Output } from "./engine.ts";
import type { Told } from "./transit-error.ts";

/** Answers in the form of Vault's API. */
export interface Answer {
  readonly status: number;
  /** JSON. A text, because Node sends that in one piece with the head. */
  readonly body: string;
}

/** @param id 16 bytes, random */
export function answerOf(data: Output, id: Buffer): Answer {
  const nothing = { lease_id: "", renewable: false, lease_duration: 0 };
  const value = { request_id: uuid(id), ...nothing, data, wrap_info: null, warnings: null, auth: null };
  return { status: 200, body: encode(value) };
}

export function refusalOf({ status, message }: Told): Answer {
  return { status, body: encode({ errors: [message] }) };
}

function encode(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** RFC 9562 §5.4, of which only the form matters. */
function uuid(random: Buffer): string {
  const bytes = Buffer.from(random);
  bytes[6] = 0x40 | (0x0f & (bytes[6] ?? 0));
  bytes[8] = 0x80 | (0x3f & (bytes[8] ?? 0));
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
