import { fromBase64, type Ciphertext, parseCiphertext } from "./transit-key.ts";
import type { Operation } from "./operation.ts";
import { TransitError } from "./transit-error.ts";

/** Of a plaintext. */
export const MOST_PLAINTEXT = 64 * 1024;

/** Of a request: base64 of the longest plaintext with nonce and tag, and what JSON has around it. */
export const MOST_BODY = 96 * 1024;

export type Input = { readonly plaintext: Buffer; readonly keyVersion: number } | { readonly ciphertext: Ciphertext };

/**
 * Strict where Vault is not: a parameter that would be ignored could be one that the client relies on, such as
 * `associated_data` or `batch_input`.
 *
 * @throws TransitError `malformed_request`, `request_too_large`, `key_version_refused`
 */
export function parseInput(kind: Operation["kind"], body: Buffer): Input {
  const fields = readFields(body);
  const allowed = kind === "encrypt" ? ["plaintext", "key_version"] : ["ciphertext"];
  const unknown = Object.keys(fields).find((name) => !allowed.includes(name));
  // Its name is the client's, and has no place in logs.
  if (unknown !== undefined) throw malformed(`unsupported parameter: only ${allowed.join(" and ")}`);
  if (kind === "decrypt")
    return { ciphertext: parseCiphertext(text(fields, "ciphertext", "missing ciphertext to decrypt")) };
  const plaintext = fromBase64(text(fields, "plaintext", "missing plaintext to encrypt"));
  if (plaintext === undefined) throw malformed("illegal base64 data in plaintext");
  if (plaintext.length > MOST_PLAINTEXT) throw tooLarge();
  return { plaintext, keyVersion: readKeyVersion(fields["key_version"]) };
}

export function tooLarge(): TransitError {
  return new TransitError("request_too_large", "request body too large");
}

function readFields(body: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body.length === 0 ? "{}" : body.toString());
  } catch {
    // V8's message has a part of the text in it.
    throw malformed("failed to decode JSON input");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw malformed("failed to decode JSON input: it is no object");
}

function text(fields: Readonly<Record<string, unknown>>, name: string, missing: string): string {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (value === undefined || value === null || (value === "" && name === "ciphertext")) throw malformed(missing);
  if (typeof value === "string") return value;
  throw malformed(`error converting input for field "${name}": expected type 'string'`);
}

/** 0: the latest one. */
function readKeyVersion(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed('error converting input for field "key_version": expected a whole number');
}

function malformed(message: string): TransitError {
  return new TransitError("malformed_request", message);
}
