import { randomBytes, verify } from "node:crypto";
import type { SnpEvidence } from "../attestation/evidence.ts";
import { amdSigner, encodeName, encodeSigned } from "../attestation/simulated/certificates.ts";
import { signReport } from "../attestation/simulated/firmware.ts";
import { parseSnpReport } from "../attestation/snp/report.ts";
import { createTestVendor, makeEvidence, NOW, reportOf } from "../attestation/snp/test-vendor.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import { EvidenceCache } from "../attestation/evidence-cache.ts";
import { simulatedRoots } from "../attestation/snp/roots.ts";
import { encodeInteger, encodeTime } from "../pki/der-writer.ts";
import type { Subject } from "./rounds.ts";

/** Reports of one chip under a fake vendor's chain, with the root's revocation list; each is of other report data. */
export async function snpSubjects(): Promise<readonly Subject[]> {
  const vendor = await createTestVendor();
  const { certificates } = makeEvidence(vendor);
  const { publicKey, privateKey } = vendor.endorsement;
  const make = (): SnpEvidence => {
    const report = signReport({ ...reportOf("Milan", "vcek"), reportData: randomBytes(64) }, privateKey);
    return { kind: "snp", report, certificates };
  };

  const arkSigner = amdSigner(vendor.ark.privateKey);
  const crl = encodeSigned(arkSigner, [
    encodeInteger(1),
    arkSigner.algorithm,
    encodeName("ARK-Milan"),
    encodeTime(new Date("2026-05-01T00:00:00Z")),
    encodeTime(new Date("2026-07-01T00:00:00Z")),
  ]);
  const options = { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW, crl };
  const cache = new EvidenceCache();

  return [
    {
      name: "SNP, signature check alone (1 ECDSA P-384)",
      prepare: () => {
        const { signed, signature } = parseSnpReport(make().report);
        return () => verify("sha384", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, signature);
      },
      times: 100,
    },
    {
      name: "SNP, chain cached",
      prepare: () => {
        const evidence = make();
        return () => verifySnp(evidence, { ...options, cache }).kind === "snp";
      },
      times: 100,
    },
    {
      name: "SNP, nothing cached",
      prepare: () => {
        const evidence = make();
        return () => verifySnp(evidence, options).kind === "snp";
      },
      times: 50,
    },
  ];
}
