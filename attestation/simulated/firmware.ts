import { type KeyObject, sign } from "node:crypto";
import { encodeSnpReport, SIGNED_SIZE, type SnpReportFields } from "../snp/report.ts";

/** Signs a report as the secure processor does: ECDSA P-384 with SHA-384 over everything before the signature. */
export function signReport(fields: Omit<SnpReportFields, "signature">, key: KeyObject): Uint8Array {
  const unsigned = encodeSnpReport({ ...fields, signature: Buffer.alloc(96) });
  const signature = sign("sha384", unsigned.subarray(0, SIGNED_SIZE), { key, dsaEncoding: "ieee-p1363" });
  return encodeSnpReport({ ...fields, signature });
}
