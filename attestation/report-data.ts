import { createHash, timingSafeEqual } from "node:crypto";
import { EvidenceError } from "./error.ts";

/** What binds evidence to one TLS connection, one key and one direction. */

const CONTEXT = "contrast-attestation-v1";

/**
 * SHA-512("contrast-attestation-v1" ‖ 0 ‖ role ‖ 0 ‖ exporter ‖ SHA-256(SPKI)). The zero bytes end texts without zero
 * bytes, and the rest has a fixed length: no two inputs give the same bytes. The exporter refuses a relay to another
 * connection, the role a reflection to the sender.
 *
 * @param role the side that attests itself
 * @param exporter 64 bytes of the TLS exporter
 * @param spkiDigest SHA-256 of that side's SubjectPublicKeyInfo, 32 bytes
 * @returns 64 bytes
 */
export function channelReportData(role: "client" | "server", exporter: Buffer, spkiDigest: Buffer): Buffer {
  if (exporter.length !== 64 || spkiDigest.length !== 32) {
    throw new RangeError(`got ${exporter.length} and ${spkiDigest.length} bytes, want 64 and 32`);
  }
  return createHash("sha512").update(`${CONTEXT}\0${role}\0`).update(exporter).update(spkiDigest).digest();
}

/**
 * @param evidence also where only its signature was verified so far: then nothing more needs to be done for it
 * @param expected 64 bytes
 * @throws EvidenceError report_data_mismatch
 */
export function checkReportData({ reportData }: { readonly reportData: Buffer }, expected: Buffer): void {
  if (expected.length === reportData.length && timingSafeEqual(expected, reportData)) return;
  throw new EvidenceError("report_data_mismatch", "the evidence was made for something else", {
    where: "REPORT_DATA",
    got: reportData.toString("hex"),
    want: expected.toString("hex"),
  });
}
