import { MalformedBytes } from "../bytes/cursor.ts";
import { EvidenceError } from "./error.ts";

/** Runs a parser and turns its refusal into one with the given code. */
export function refusing<T>(code: "malformed_certificate" | "malformed_crl" | "malformed_report", parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    const { field, offset, got, want } = error;
    throw new EvidenceError(
      code,
      `the bytes at offset 0x${offset.toString(16)} are not what their specification says`,
      { where: shorten(field), got: shorten(got), want },
    );
  }
}

/** A peer chooses these bytes, and up to a mebibyte of them: they must not fill the log. */
function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
