import type { Fault } from "../runtime/fault.ts";
import { CodedError } from "../runtime/errors.ts";

/** Why a manifest or an initdata document was refused; all of them: correct the named places and try again. */
export type ManifestCode =
  /** The bytes are not JSON text in UTF-8 (RFC 8259), are too many, or are nested too deeply. */
  | "malformed_json"
  /** A key stands twice in one object: two readers could see two different manifests. */
  | "duplicate_key"
  /** The JSON is not a manifest: unknown or missing keys, wrong lengths, odd hex, unusable names. */
  | "invalid_manifest"
  /** The JSON is not an annex, or not in its one form. */
  | "invalid_annex"
  /** The names of a policy make a certificate chain that no proxy would accept: use fewer, or shorter ones. */
  | "certificate_too_long"
  /** The bytes are not an initdata document, or the annotation does not hold one. */
  | "malformed_initdata";

/** No message gets longer than this many faults: a hostile file must not fill the log. */
const SHOWN = 20;

/** Everything that is wrong with one file, together. `where` of a fault is a JSON path, or line:column. */
export class ManifestError extends CodedError<ManifestCode> {
  readonly faults: readonly Fault[];

  /** @param faults at least one */
  constructor(code: ManifestCode, message: string, faults: readonly Fault[], cause?: unknown) {
    const [only] = faults.length === 1 ? faults : [];
    super(code, only === undefined ? `${message}, ${faultLines(faults)}` : message, { ...only, cause });
    this.faults = faults;
  }
}

/** `3 faults`, then one indented line for each. */
export function faultLines(faults: readonly Fault[]): string {
  const lines = faults.slice(0, SHOWN).map(({ where, got, want }) => `\n  ${where}: got ${got}, want ${want}`);
  const rest = faults.length > SHOWN ? `\n  and ${faults.length - SHOWN} more` : "";
  return `${faults.length} faults${lines.join("")}${rest}`;
}
