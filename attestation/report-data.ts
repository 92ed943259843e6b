import { fromUtf8, isEqual, toHex } from "../bytes/encode.ts";
import { digest } from "../crypto/node.ts";
import { EvidenceError } from "./error.ts";

/**
 * What evidence is bound to: one TLS connection, one key and one direction; or, over HTTP, nonces and what the Coordinator
 * has in force. The contexts differ, so evidence of the one kind never passes for the other.
 */

const CONTEXT = "contrast-attestation-v1";
const HTTP_CONTEXT = "contrast-http-attestation-v1";

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
export function channelReportData(role: "client" | "server", exporter: Uint8Array, spkiDigest: Uint8Array): Uint8Array {
  if (exporter.length !== 64 || spkiDigest.length !== 32) {
    throw new RangeError(`got ${exporter.length} and ${spkiDigest.length} bytes, want 64 and 32`);
  }
  return digest("sha512", fromUtf8(`${CONTEXT}\0${role}\0`), exporter, spkiDigest);
}

/** What the Coordinator has in force when it makes evidence over HTTP: SHA-256 digests, each of 32 bytes. */
export interface HttpBinding {
  /** Of the tree over the nonces (nonce-tree.ts). */
  readonly treeRoot: Uint8Array;
  /** The latest transition. */
  readonly transition: Uint8Array;
  /** Of the SubjectPublicKeyInfo of the root CA and of the mesh CA. */
  readonly rootKey: Uint8Array;
  readonly meshKey: Uint8Array;
}

/**
 * SHA-512("contrast-http-attestation-v1" ‖ 0 ‖ tree root ‖ transition ‖ root CA key ‖ mesh CA key).
 *
 * @returns 64 bytes
 * @throws RangeError where a digest has another length
 */
export function httpReportData({ treeRoot, transition, rootKey, meshKey }: HttpBinding): Uint8Array {
  const digests = [treeRoot, transition, rootKey, meshKey];
  if (digests.some(({ length }) => length !== 32)) throw new RangeError("want four digests of 32 bytes");
  return digest("sha512", fromUtf8(`${HTTP_CONTEXT}\0`), ...digests);
}

/**
 * @param evidence also where only its signature was verified so far: then nothing more needs to be done for it
 * @param expected 64 bytes
 * @throws EvidenceError report_data_mismatch
 */
export function checkReportData({ reportData }: { readonly reportData: Uint8Array }, expected: Uint8Array): void {
  if (isEqual(expected, reportData)) return;
  throw new EvidenceError("report_data_mismatch", "the evidence was made for something else", {
    where: "REPORT_DATA",
    got: toHex(reportData),
    want: toHex(expected),
  });
}
