import { claims } from "../attestation/claims.ts";
import { policyHash as policyHashOf } from "../attestation/policy-hash.ts";
import type { SnpReportFields } from "../attestation/snp/report.ts";
import { simulatedRoots } from "../attestation/snp/roots.ts";
import { createTestVendor, makeEvidence, NOW, reportOf } from "../attestation/snp/test-vendor.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import type { VerifiedClaimant } from "../manifest/appraise.ts";
import { generationExtensions } from "../manifest/generation-extensions.ts";
import { encodeInitdata, policyHash } from "../manifest/initdata.ts";
import { issueCa } from "../pki/certificate.ts";
import { generateEcKey } from "../pki/keys.ts";
import { POLICY_RULES } from "../policy/policy-rules.ts";
import type { VerifiedEvidence } from "../attestation/tee.ts";
import { toHex } from "../bytes/encode.ts";
import type { AuditInput } from "./facts.ts";

/** For tests: a Coordinator that was attested, with whatever history a test gives it. */

export { NOW };

/** A policy as `generate` makes it. */
export function policyOf(
  workload: { readonly kind?: string; readonly namespace?: string | null; readonly name: string },
  container: object = {},
  rules: string = POLICY_RULES,
): string {
  const data = {
    workload: { kind: "Deployment", namespace: "shop", ...workload },
    containers: [
      { type: "container", name: "main", image: "shop:1", command: ["/run"], privileged: false, ...container },
    ],
  };
  return `${rules}\npolicy_data := ${JSON.stringify(data, undefined, 2).replaceAll("\u007f", "\\u007f")}\n`;
}

export const COORDINATOR = policyOf({ kind: "StatefulSet", name: "coordinator" });

export function hashOf(rego: string): string {
  return documentOf(rego).hash;
}

interface Document {
  readonly bytes: Uint8Array;
  readonly hash: string;
}

const documents = new Map<string, Document>();

/** A long history names each policy many times. */
function documentOf(rego: string): Document {
  const known = documents.get(rego);
  if (known !== undefined) return known;
  const bytes = encodeInitdata(rego);
  const made = { bytes, hash: policyHash(bytes) };
  documents.set(rego, made);
  return made;
}

/** What a test's manifest has; the rest is right. */
export interface Draft {
  /** Policies in Rego, and what they are granted. The Coordinator's own is always there. */
  readonly pods?: readonly (readonly [rego: string, grant: object])[];
  readonly referenceValues?: object;
  readonly owners?: readonly string[];
  readonly ownerThreshold?: number;
  readonly seedshareOwners?: readonly string[];
  readonly threshold?: number;
  readonly certificateLifetime?: string;
}

export const OWNER = "0a".repeat(32);

export interface TestAudit {
  /** @param drafts oldest first */
  readonly input: (drafts: readonly Draft[], changes?: Partial<AuditInput>) => AuditInput;
  readonly insecure: object;
}

export async function createTestAudit(report: Partial<SnpReportFields> = {}): Promise<TestAudit> {
  const vendor = await createTestVendor();
  const fields = { ...report, hostData: Buffer.from(hashOf(COORDINATOR), "hex") };
  const trustAnchors = simulatedRoots([vendor.rootDigest]);
  const verified = verifySnp(makeEvidence(vendor, { report: fields }), { trustAnchors, at: NOW });
  const [root, mesh] = [await generateEcKey("P-384"), await generateEcKey("P-256")];
  const ca = { notBefore: NOW, notAfter: new Date("2036-06-01T00:00:00Z"), pathLength: 1 };
  const certificate = (
    subject: string,
    key: typeof root,
    extensions: ReadonlyMap<string, Uint8Array> = new Map(),
  ): string => issueCa({ ...ca, subject, publicKey: key.publicKey, issuer: { name: subject, key }, extensions });
  const insecure = { RootDigest: vendor.rootDigest, TrustedMeasurement: toHex(reportOf("Milan", "vcek").measurement) };
  const extensions = generationExtensions({ number: 3, manifest: "ab".repeat(32) });
  const authority = {
    rootCa: certificate("Contrast root CA", root),
    meshCa: certificate("Contrast mesh CA", mesh, extensions),
  };
  return {
    insecure,
    input: (drafts, changes) => ({
      version: "1.2.3",
      at: NOW,
      address: "coordinator.example:1313",
      coordinator: claimantOf(verified),
      history: drafts.map((draft, index) => ({
        manifest: manifestOf({ referenceValues: { insecure: [insecure] }, ...draft }),
        transition: Buffer.alloc(32, index + 1).toString("hex"),
        signedBy: index === 0 ? [] : [OWNER],
        rootKey: "c".repeat(64),
      })),
      amendments: [],
      annex: undefined,
      policies: [...new Set([COORDINATOR, ...drafts.flatMap(({ pods = [] }) => pods.map(([rego]) => rego))])].map(
        (rego) => documentOf(rego).bytes,
      ),
      ...authority,
      ...changes,
    }),
  };
}

function manifestOf({ pods = [], owners = [OWNER], seedshareOwners = [], threshold, ...draft }: Draft): Uint8Array {
  const { referenceValues, certificateLifetime } = draft;
  const document = {
    Policies: Object.fromEntries([
      [hashOf(COORDINATOR), { SANs: ["coordinator", "*"], Role: "coordinator" }],
      ...pods.map(([rego, grant]) => [hashOf(rego), { SANs: [], ...grant }]),
    ]),
    ReferenceValues: referenceValues,
    WorkloadOwnerKeyDigests: owners,
    ...(draft.ownerThreshold === undefined ? {} : { WorkloadOwnerThreshold: draft.ownerThreshold }),
    SeedshareOwnerPubKeys: seedshareOwners,
    ...(threshold === undefined ? {} : { SeedshareThreshold: threshold }),
    CertificateLifetime: certificateLifetime,
  };
  return Buffer.from(JSON.stringify(document));
}

/** As if it had come over a connection. */
export function claimantOf(evidence: VerifiedEvidence): VerifiedClaimant {
  return { evidence, policyHash: policyHashOf(evidence), claims: claims(evidence) } as unknown as VerifiedClaimant;
}
