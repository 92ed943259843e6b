import * as z from "zod/mini";

/**
 * The HTTP attestation API of the Coordinator, version 1: what is asked and answered, in JSON. The server's OpenAPI document is
 * made of these schemas, and clients check answers by them. Nothing here is trusted: an answer is worth what its evidence says.
 */

/** More bytes than an answer to `attest` has: evidence with collateral, and a history of some ten thousand steps. */
export const MOST_ANSWER_BYTES = 8 * 2 ** 20;

const base64 = z.base64().check(z.describe("bytes in base64 (RFC 4648 §4), with padding"));
const digest = z.string().check(z.regex(/^[0-9a-f]{64}$/), z.describe("SHA-256, 64 digits of lower-case hexadecimal"));

export const AttestRequest = z.strictObject({
  nonce: digest.check(z.describe("32 bytes that the verifier has just drawn, 64 digits of lower-case hexadecimal")),
});

const SnpEvidence = z.strictObject({
  kind: z.literal("snp"),
  report: base64.check(z.describe("ATTESTATION_REPORT as the firmware made it")),
  certificates: z
    .array(base64)
    .check(z.maxLength(12), z.describe("DER: VCEK or VLEK, its issuer, the root, in any order")),
  crl: z.optional(base64).check(z.describe("the root's revocation list, DER")),
});

const TdxEvidence = z.strictObject({
  kind: z.literal("tdx"),
  quote: base64.check(z.describe("the quote as the quoting enclave made it")),
  collateral: z.optional(
    z.strictObject({
      tcbInfo: base64.check(z.describe("body of /tdx/certification/v4/tcb")),
      qeIdentity: base64.check(z.describe("body of /tdx/certification/v4/qe/identity")),
      signingChain: base64.check(z.describe("certificates that signed the two, PEM")),
      pckCrl: base64.check(z.describe("list of the CA of the PCK certificate, DER")),
      rootCrl: base64.check(z.describe("the root's list, DER")),
    }),
  ),
});

const Step = z.strictObject({
  transition: digest.check(z.describe("SHA-256 of the transition's record")),
  manifest: digest,
  annex: z.nullable(digest).check(z.describe("SHA-256 of the annex in force from then on; null: there is none")),
});

export const AttestAnswer = z.strictObject({
  version: z.literal(1),
  nonce: digest,
  path: z
    .array(z.strictObject({ side: z.enum(["left", "right"]), digest }))
    .check(z.maxLength(20), z.describe("siblings from the nonce's leaf up to the root of the tree")),
  evidence: z.discriminatedUnion("kind", [SnpEvidence, TdxEvidence]),
  rootCa: z.string().check(z.describe("PEM")),
  meshCa: z.string().check(z.describe("PEM")),
  transition: base64.check(z.describe("record of the latest transition: its digest is bound by the evidence")),
  history: z
    .array(Step)
    .check(z.minLength(1), z.describe("by digest, oldest first; the last one is the latest transition")),
});

/** Of `GET /v1/history`: the records that the digests of `history` name. */
export const HistoryAnswer = z.strictObject({
  version: z.literal(1),
  transitions: z.array(base64).check(z.describe("records, oldest first")),
});

export const Capabilities = z.strictObject({
  version: z.literal(1),
  program: z.string().check(z.describe("version of the Coordinator")),
  state: z.enum(["empty", "recovery", "active", "stale", "forked"]),
  insecure: z.boolean().check(z.describe("its evidence comes from a software TEE and proves nothing")),
  tee: z.enum(["snp", "tdx"]),
  batchMs: z.number().check(z.describe("how long nonces are collected for one report, in milliseconds")),
});

/** RFC 9457, `application/problem+json`, with the members that errors of this project have. */
export const Problem = z.strictObject({
  type: z.literal("about:blank"),
  title: z.string(),
  status: z.int(),
  code: z.string().check(z.describe("stable")),
  detail: z.string(),
  where: z.optional(z.string()),
  got: z.optional(z.string()),
  want: z.optional(z.string()),
  hint: z.optional(z.string()),
  retryAfterMs: z.optional(z.int()).check(z.describe("trying again sooner makes it worse")),
});

export type AttestAnswer = z.output<typeof AttestAnswer>;
export type HistoryAnswer = z.output<typeof HistoryAnswer>;
export type Capabilities = z.output<typeof Capabilities>;
export type Problem = z.output<typeof Problem>;
