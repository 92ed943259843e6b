import { Refusal } from "../api/refusal.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { quote } from "../runtime/fault.ts";
import type { RecordKind } from "./store.ts";

/**
 * The form of every file of the state: one line, then the payload as it is.
 *
 *     contrast <kind> <version> sha256:<SHA-256 of the payload, 64 digits of lower-case hexadecimal> LF <payload>
 *
 * There is one header for one payload, so any changed, missing or added byte shows. The digest finds damage, not malice:
 * what nobody may forge is signed (history.ts).
 */
const VERSION = 1;

const NAMES = {
  manifests: "manifest",
  policies: "policy",
  transitions: "transition",
  seedshares: "seedshares",
  pointers: "pointer",
  consents: "consent",
  annexes: "annex",
  secrets: "secret",
  latest: "latest",
} as const satisfies Record<RecordKind | "latest", string>;

/** The start of a header of any version: what of it later versions will keep. */
const ANY_VERSION = /^contrast [a-z]+ ([1-9]\d{0,8}) /;

export function encodeRecord(kind: keyof typeof NAMES, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(headerOf(kind, payload)), payload]);
}

/**
 * @param where the name of the record, for errors
 * @returns the payload
 * @throws Refusal `unknown_state_version`, `damaged_state`
 */
export function decodeRecord(kind: keyof typeof NAMES, file: Buffer, where: string): Buffer {
  const end = file.indexOf("\n") + 1;
  const header = file.toString("latin1", 0, end);
  const payload = file.subarray(end);
  const want = headerOf(kind, payload);
  if (header === want) return payload;
  const version = ANY_VERSION.exec(header)?.[1];
  if (version !== undefined && version !== String(VERSION)) {
    throw new Refusal("unknown_state_version", "a record of the state has a format that this version does not know", {
      where,
      got: `version ${version}`,
      want: `version ${VERSION}`,
      hint: "run the version of the Coordinator that wrote it, or a later one",
    });
  }
  throw damaged("a record of the state is damaged", { where, got: quote(header), want: quote(want) });
}

export function damaged(
  message: string,
  details: { where: string; got?: string; want?: string; hint?: string; cause?: unknown },
): Refusal {
  return new Refusal("damaged_state", message, { hint: "restore it from a backup of the state", ...details });
}

function headerOf(kind: keyof typeof NAMES, payload: Uint8Array): string {
  return `contrast ${NAMES[kind]} ${VERSION} sha256:${sha256Hex(payload)}\n`;
}
