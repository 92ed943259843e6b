import * as z from "zod/mini";

/** The HTTP API's way to change the manifest: what owners' tools send, and are answered. Browsers need none of it. */

const base64 = z.base64().check(z.describe("bytes in base64 (RFC 4648 §4), with padding"));
const digest = z.string().check(z.regex(/^[0-9a-f]{64}$/), z.describe("SHA-256, 64 digits of lower-case hexadecimal"));

const Signature = z.strictObject({
  publicKey: base64.check(z.describe("of a workload owner: SubjectPublicKeyInfo, DER")),
  signature: base64.check(z.describe("ECDSA with SHA-256 over the change, DER: what `contrast sign` makes")),
});

/** As many as a change may have (manifest/change-signature.ts). */
const signatures = z.array(Signature).check(z.minLength(1), z.maxLength(16));

/** Of `POST /v1/set`. Nothing in it is secret, and nothing counts in it that owners have not signed. */
export const SetRequest = z.strictObject({
  manifest: base64.check(z.describe("manifest.json, byte for byte")),
  policies: z
    .array(base64)
    .check(z.maxLength(4096))
    .check(
      z.describe("initdata documents that the manifest lists; those that the history in force has may be left out"),
    ),
  latestTransition: digest.check(z.describe("the transition that the change follows: the signatures name it")),
  signedMeshKey: z.optional(digest.check(z.describe("the mesh CA key that the signatures name, for a better refusal"))),
  signatures,
});

/** Nobody vouches for it: whether the manifest is in force, an answer to `attest` says. */
export const SetAnswer = z.discriminatedUnion("outcome", [
  z.strictObject({ version: z.literal(1), outcome: z.literal("set"), transition: digest }),
  z.strictObject({
    version: z.literal(1),
    outcome: z.literal("pending"),
    manifest: digest,
    signatures: signatures.check(z.describe("of all owners who have signed the change up to now")),
    missing: z.int().check(z.describe("how many more owners have to sign")),
    revoke: z.boolean().check(z.describe("whether one of them wants no certificate of before to be trusted any more")),
  }),
]);

export type SetRequest = z.output<typeof SetRequest>;
export type SetAnswer = z.output<typeof SetAnswer>;
