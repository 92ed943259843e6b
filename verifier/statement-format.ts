import * as z from "zod/mini";
import { AttestAnswer } from "../api/http/answers.ts";
import { canonicalJson } from "../bytes/canonical-json.ts";
import { fromBase64, fromUtf8, toUtf8 } from "../bytes/encode.ts";
import { parseWith } from "../manifest/schema.ts";
import { VerifyError } from "./error.ts";

/**
 * What is kept of a verification: a statement of in-toto (https://github.com/in-toto/attestation, spec/v1) that needs no signature
 * of the one who kept it, for its predicate has all that was verified. It has one form: JSON of RFC 8785, in UTF-8.
 */
export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";

/** A name, not a page. */
export const PREDICATE_TYPE = "https://contrast-mesh.example/attestation/v1";

/** In base64, what a verifier reads of a deployment, and some more. */
export const MOST_STATEMENT_BYTES = 96 * 2 ** 20;

/** Of several Coordinators, each with the certificates of its own chip. */
export const MOST_BOUND = 128;

const base64 = z.base64();
const digest = z.string().check(z.regex(/^[0-9a-f]{64}$/));
const documents = z.record(digest, base64);

const schema = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([z.strictObject({ name: z.literal("manifest.json"), digest: z.strictObject({ sha256: digest }) })]),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: z.strictObject({
    version: z.literal(1),
    /** What the nonce of the answer is made of: 32 bytes that were drawn, and digests of documents that were there before. */
    random: digest,
    bound: z.array(digest).check(z.maxLength(MOST_BOUND)),
    answer: AttestAnswer,
    transitions: z.array(base64),
    manifests: documents,
    annexes: documents,
    policies: documents,
    /** Signed by nobody. */
    url: z.string().check(z.maxLength(2048)),
    verifiedAt: z.iso.datetime({ precision: 3 }),
  }),
});

export type Statement = z.output<typeof schema>;

/** @throws VerifyError answer_too_large */
export function encodeStatement(statement: Statement): Uint8Array {
  const bytes = fromUtf8(canonicalJson(statement));
  if (bytes.length <= MOST_STATEMENT_BYTES) return bytes;
  throw new VerifyError("answer_too_large", "the deployment is too large for a statement", {
    got: `${bytes.length} bytes`,
    want: `at most ${MOST_STATEMENT_BYTES}`,
  });
}

/** @throws VerifyError malformed_statement */
export function parseStatement(bytes: Uint8Array): Statement {
  if (bytes.length > MOST_STATEMENT_BYTES) {
    throw malformed("$", `${bytes.length} bytes`, `at most ${MOST_STATEMENT_BYTES}`);
  }
  const text = toUtf8(bytes);
  const { data, error } = parseWith(schema, jsonOf(text));
  if (data === undefined) {
    const [issue] = error?.issues ?? [];
    throw malformed(["$", ...(issue?.path ?? [])].join("."), "something else", issue?.message);
  }
  // Keys that stand twice, spaces, escapes that need not be: other bytes would say the same.
  if (canonicalJson(data) !== text) throw malformed("$", "another form", "the canonical form of RFC 8785");
  return data;
}

/** @param where its name, for the error @throws VerifyError malformed_statement */
export function bytesOf(text: string, where: string): Uint8Array {
  const bytes = fromBase64(text);
  if (bytes === undefined) throw malformed(where, "something else", "base64 (RFC 4648 §4), with padding");
  return bytes;
}

export function malformed(where: string, got: string, want: string | undefined): VerifyError {
  return new VerifyError("malformed_statement", "this is no statement of a verification", {
    where,
    got,
    want,
    hint: "it was changed or cut, or another version made it",
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
