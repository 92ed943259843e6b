import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Clock } from "../attestation/clock.ts";
import { NO_VENDORS } from "../attestation/endorsements/test-vendors.ts";
import type { SnpEvidence } from "../attestation/evidence.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import type { IdBlock } from "../attestation/simulated/identity.ts";
import { openTestVendor } from "../attestation/simulated/test-vendor.ts";
import type { SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { createTestVendor, makeEvidence, NOW, TEE_TCB_SVN, type TestVendor } from "../attestation/tdx/test-vendor.ts";
import { verifyTdx } from "../attestation/tdx/verify.ts";
import { toHex } from "../bytes/encode.ts";
import { admit, matchReferenceValues, policyOf, verifyClaimant } from "./appraise.ts";
import { type Manifest, parseManifest } from "./manifest.ts";

const hostData = Buffer.alloc(32, 0x40);
const reportData = randomBytes(64);
const at = new Date();
const clock = new Clock({ now: () => at, built: () => undefined });
const trusting = { allowInsecure: true, clock, vendors: NO_VENDORS };

let directory: string;
let vendor: SimulatedVendor;
let rootDigest: string;
let evidence: SnpEvidence;
let intel: TestVendor;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "appraise-test-"));
  vendor = await openTestVendor(join(directory, "vendor"), at);
  rootDigest = vendor.rootDigest;
  await vendor.launch(join(directory, "vm"), { hostData });
  evidence = await (await openSimulatedAttester(join(directory, "vm"))).collect(reportData);
  intel = await createTestVendor();
});

afterAll(() => rm(directory, { recursive: true }));

const simulated = () => ({ RootDigest: rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT });
const tdx = {
  MrTd: "aa".repeat(48),
  MrSeam: "5a".repeat(48),
  Rtmrs: ["01", "02", "03", "00"].map((byte) => byte.repeat(48)),
  Xfam: "e702060000000000",
  MinimumTeeTcbSvn: toHex(TEE_TCB_SVN),
};

function manifest(referenceValues: object, policy = hostData): Manifest {
  const document = {
    Policies: { [policy.toString("hex")]: { SANs: ["web"] } },
    ReferenceValues: referenceValues,
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  return parseManifest(Buffer.from(JSON.stringify(document)));
}

const refusal = (code: string, where?: string) =>
  expect.objectContaining(where === undefined ? { code } : { code, where: expect.stringContaining(where) as string });

test("a VM with a listed policy and matching reference values is granted its names", async () => {
  const listed = manifest({ insecure: [simulated()] });
  const verified = await verifyClaimant({ evidence, reportData }, listed, trusting);
  expect(admit(verified, listed).sans).toEqual([{ kind: "dns", value: "web" }]);
  expect(verified.claims).toMatchObject({ tee: "snp", insecure: true, hostData: hostData.toString("hex") });
});

test("the software TEE is believed only where both the manifest and the program say so", async () => {
  const listed = manifest({ insecure: [simulated()] });
  const verify = (values: Manifest, allowInsecure: boolean) =>
    verifyClaimant({ evidence, reportData }, values, { ...trusting, allowInsecure });
  await expect(verify(listed, false)).rejects.toThrow(refusal("untrusted_root"));
  await expect(verify(manifest({ tdx: [tdx] }), true)).rejects.toThrow(refusal("untrusted_root"));
});

test("a manifest that trusts a signer admits every image of the product from a security version on", async () => {
  const product = { FamilyID: "fa".repeat(16), ImageID: "1a".repeat(16), MinimumGuestSVN: 6 };
  const listed = manifest({ insecure: [{ RootDigest: rootDigest, IdKeyDigest: "1d".repeat(48), ...product }] });
  const idBlock = {
    idKeyDigest: Buffer.alloc(48, 0x1d),
    authorKeyDigest: Buffer.alloc(48),
    familyId: Buffer.alloc(16, 0xfa),
    imageId: Buffer.alloc(16, 0x1a),
  };
  const admitted = async (options: { idBlock?: IdBlock }): Promise<number> => {
    await vendor.launch(join(directory, "signed"), { hostData, ...options });
    const shown = await (await openSimulatedAttester(join(directory, "signed"))).collect(reportData);
    return admit(await verifyClaimant({ evidence: shown, reportData }, listed, trusting), listed).sans.length;
  };
  for (const guestSvn of [6, 7]) expect(await admitted({ idBlock: { ...idBlock, guestSvn } })).toBe(1);
  await expect(admitted({ idBlock: { ...idBlock, guestSvn: 5 } })).rejects.toThrow(
    refusal("guest_svn_too_low", "GUEST_SVN"),
  );
  const other = { ...idBlock, guestSvn: 6, imageId: Buffer.alloc(16) };
  await expect(admitted({ idBlock: other })).rejects.toThrow(refusal("image_mismatch", "IMAGE_ID"));
  await expect(admitted({})).rejects.toThrow(refusal("image_mismatch", "ID_KEY_DIGEST"));
});

test("evidence that was made for another connection is refused", async () => {
  const listed = manifest({ insecure: [simulated()] });
  const other = { evidence, reportData: randomBytes(64) };
  await expect(verifyClaimant(other, listed, trusting)).rejects.toThrow(refusal("report_data_mismatch"));
});

test("a policy that is not listed is refused, with its hash", async () => {
  const listed = manifest({ insecure: [simulated()] });
  const verified = await verifyClaimant({ evidence, reportData }, listed, trusting);
  const other = manifest({ insecure: [simulated()] }, Buffer.alloc(32, 0x41));
  expect(() => admit(verified, other)).toThrow(refusal("policy_not_allowed", "HOST_DATA"));
});

test("one set that does not match says why itself, several say it together, and one that matches is enough", async () => {
  const wrong = { ...simulated(), TrustedMeasurement: "00".repeat(48) };
  const listed = manifest({ insecure: [simulated()] });
  const verified = await verifyClaimant({ evidence, reportData }, listed, trusting);
  expect(() => admit(verified, manifest({ insecure: [wrong] }))).toThrow(
    refusal("measurement_mismatch", "MEASUREMENT"),
  );
  expect(() => admit(verified, manifest({ insecure: [wrong, wrong] }))).toThrow(refusal("reference_values_mismatch"));
  expect(() => admit(verified, manifest({ tdx: [tdx] }))).toThrow(refusal("reference_values_mismatch"));
  const second = manifest({ insecure: [wrong, simulated()] });
  expect(admit(verified, second).sans).toHaveLength(1);
  expect(matchReferenceValues(verified.evidence, second)).toBe("$.ReferenceValues.insecure[1]");
});

test("TDX is compared with the sets of TDX, and its policy is in MRCONFIGID", () => {
  const mrConfigId = Buffer.concat([hostData], 48);
  const options = { trustAnchors: new Set([intel.rootDigest]), at: NOW };
  const verified = verifyTdx(makeEvidence(intel, { body: { mrConfigId } }), options);
  const listed = manifest({ tdx: [tdx] });
  matchReferenceValues(verified, listed);
  expect(policyOf(verified, listed).sans).toHaveLength(1);
  const wrong = manifest({ tdx: [{ ...tdx, MrTd: "00".repeat(48) }] });
  expect(() => matchReferenceValues(verified, wrong)).toThrow(refusal("measurement_mismatch", "MRTD"));
  expect(() => matchReferenceValues(verified, manifest({ insecure: [simulated()] }))).toThrow(
    refusal("reference_values_mismatch"),
  );
  const other = manifest({ tdx: [tdx] }, Buffer.alloc(32, 0x41));
  expect(() => policyOf(verified, other)).toThrow(refusal("policy_not_allowed", "MRCONFIGID"));
});

test("a TCB status passes where the manifest names it, and only one that can be named is valid", () => {
  const values = (status: string) => ({ tdx: [{ ...tdx, AllowedTcbStatuses: [status] }] });
  expect(manifest(values("SWHardeningNeeded")).referenceValues.tdx[0]?.allowedTcbStatuses).toEqual([
    "SWHardeningNeeded",
  ]);
  expect(() => manifest(values("Revoked"))).toThrow(refusal("invalid_manifest", "AllowedTcbStatuses"));
});
