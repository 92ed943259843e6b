import { parse } from "smol-toml";
import { fromUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { quote } from "../runtime/fault.ts";
import { ManifestError } from "./error.ts";
import { readGuestPull } from "./guest-pull.ts";
import { decodeText } from "./text.ts";

/**
 * The initdata document (confidential-containers initdata 0.1.0): TOML that carries the policy of a pod into its VM. The
 * SHA-256 of its bytes is HOST_DATA or MRCONFIGID and the key of the policy in the manifest, so the bytes are never
 * written anew. It holds the policy, and what the guest has to know to pull images (guest-pull.ts), and nothing else: another
 * entry would configure the guest behind the back of those who read the policy only.
 */

const POLICY_FILE = "policy.rego";
/** The configuration of the guest's data hub. */
const PULL_FILE = "cdh.toml";

/**
 * @param pull as `encodeGuestPull` has it
 * @throws ManifestError malformed_initdata where a literal string of TOML can't hold a text
 */
export function encodeInitdata(rego: string, pull?: string): Uint8Array {
  const files = [...(pull === undefined ? [] : [[PULL_FILE, pull] as const]), [POLICY_FILE, rego] as const];
  for (const [, text] of files) requireLiteral(text);
  const entries = files.map(([name, text]) => `"${name}" = '''\n${text}'''\n`);
  return fromUtf8(`version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n${entries.join("")}`);
}

function requireLiteral(text: string): void {
  // oxlint-disable-next-line no-control-regex
  const [stranger] = /'''|[\u0000-\u0008\u000b-\u001f\u007f]/.exec(text) ?? (text.isWellFormed() ? [] : ["\uD800"]);
  if (stranger === undefined) return;
  throw malformedInitdata("the policy", quote(stranger), "text without ''' and without control characters");
}

/** SHA-256 of the document's bytes: 64 lower-case hexadecimal digits. */
export function policyHash(document: Uint8Array): string {
  return sha256Hex(document);
}

/** What a document says. */
export interface Initdata {
  readonly rego: string;
  /** `cdh.toml`, where there is one. */
  readonly pull: string | undefined;
}

/** @throws ManifestError malformed_initdata */
export function regoOf(document: Uint8Array): string {
  return readInitdata(document).rego;
}

/** @throws ManifestError malformed_initdata */
export function readInitdata(document: Uint8Array): Initdata {
  const text = decodeText(document, "malformed_initdata");
  let toml: Record<string, unknown>;
  try {
    toml = parse(text);
  } catch (error) {
    throw malformedInitdata("the document", error instanceof Error ? quote(error.message) : "a failure", "TOML", error);
  }
  const { version, algorithm, data, ...others } = toml;
  if (version !== "0.1.0") throw malformedInitdata("version", shown(version), '"0.1.0"');
  if (algorithm !== "sha256") throw malformedInitdata("algorithm", shown(algorithm), '"sha256"');
  const { [POLICY_FILE]: rego, [PULL_FILE]: pull, ...strangers } = Object(data) as Readonly<Record<string, unknown>>;
  if (typeof rego !== "string") throw malformedInitdata(`data."${POLICY_FILE}"`, shown(rego), "a string");
  const [stranger] = [...Object.keys(others), ...Object.keys(strangers).map((key) => `data.${key}`)];
  if (stranger !== undefined) {
    throw malformedInitdata(quote(stranger), "an entry that is not known", `only "${POLICY_FILE}" and "${PULL_FILE}"`);
  }
  if (pull === undefined) return { rego, pull };
  if (typeof pull !== "string") throw malformedInitdata(`data."${PULL_FILE}"`, shown(pull), "a string");
  readGuestPull(pull);
  return { rego, pull };
}

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  return typeof value === "string" ? quote(value) : `a ${typeof value}`;
}

/** A document, or what carries one, that is not what it has to be. */
export function malformedInitdata(where: string, got: string, want: string, cause?: unknown): ManifestError {
  return new ManifestError("malformed_initdata", "this is no initdata document", [{ where, got, want }], cause);
}
