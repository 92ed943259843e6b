import { randomBytes, sign, verify } from "node:crypto";
import { EvidenceCache } from "../attestation/evidence-cache.ts";
import type { TdxEvidence } from "../attestation/evidence.ts";
import { encodeSigned, encodeTdxQuote, parseTdxQuote } from "../attestation/tdx/quote.ts";
import { createTestVendor, makeEvidence, NOW, platformLevel } from "../attestation/tdx/test-vendor.ts";
import { verifyTdx } from "../attestation/tdx/verify.ts";
import type { Subject } from "./rounds.ts";

/** Intel's TCB info lists about as many levels. */
const LEVELS = 18;

/** Quotes of one platform under a fake vendor's chain, with collateral of the usual size; each is of other report data. */
export async function tdxSubjects(): Promise<readonly Subject[]> {
  const vendor = await createTestVendor();
  const tcbLevels = Array.from({ length: LEVELS }, () => platformLevel({}, "UpToDate"));
  const { quote: example, collateral } = makeEvidence(vendor, { tcbInfo: { tcbLevels } });
  const fields = parseTdxQuote(example);
  const key = vendor.attestation.privateKey;
  const make = (): TdxEvidence => {
    const body = { ...fields.body, reportData: randomBytes(64) };
    const signature = sign("sha256", encodeSigned({ ...fields, body }), { key, dsaEncoding: "ieee-p1363" });
    return { kind: "tdx", quote: encodeTdxQuote({ ...fields, body, signature }), collateral };
  };

  const options = { trustAnchors: new Set([vendor.rootDigest]), at: NOW };
  const cache = new EvidenceCache();
  const [pck, attestation] = [vendor.pck, vendor.attestation].map(
    ({ publicKey }) => ({ key: publicKey, dsaEncoding: "ieee-p1363" }) as const,
  );
  if (pck === undefined || attestation === undefined) throw new TypeError("the vendor has no keys");

  return [
    {
      name: "TDX, signature checks alone (2 ECDSA P-256)",
      prepare: () => {
        const { signed, signature, signedQeReport, qeReportSignature } = parseTdxQuote(make().quote);
        return () =>
          verify("sha256", signedQeReport, pck, qeReportSignature) && verify("sha256", signed, attestation, signature);
      },
      times: 400,
    },
    {
      name: "TDX, collateral and chain cached",
      prepare: () => {
        const evidence = make();
        return () => verifyTdx(evidence, { ...options, cache }).kind === "tdx";
      },
      times: 400,
    },
    {
      name: "TDX, nothing cached",
      prepare: () => {
        const evidence = make();
        return () => verifyTdx(evidence, options).kind === "tdx";
      },
      times: 50,
    },
  ];
}
