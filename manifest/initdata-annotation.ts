import { constants, gunzipSync, gzipSync } from "node:zlib";
import { quote } from "../runtime/fault.ts";
import { malformedInitdata } from "./initdata.ts";
import { LARGEST_FILE } from "./text.ts";

/** The annotation of a pod that carries its initdata document (initdata.ts) to the host. */

export const INITDATA_ANNOTATION = "io.katacontainers.config.hypervisor.cc_init_data";

/** The same for the shim of AKS, a fork of Kata's with Cloud Hypervisor. */
export const AKS_INITDATA_ANNOTATION = "io.katacontainers.config.runtime.cc_init_data";

/**
 * The value of the annotation: gzip (RFC 1952), then base64. Without matches, and with MTIME and OS fixed, the bytes are
 * the same on every machine: which matches zlib finds depends on the CPU.
 */
export function toAnnotation(document: Uint8Array): string {
  const bytes = gzipSync(document, { strategy: constants.Z_HUFFMAN_ONLY });
  bytes.writeUInt32LE(0, 4);
  bytes.writeUInt8(255, 9);
  return bytes.toString("base64");
}

/**
 * @returns the document; what it says is not looked at
 * @throws ManifestError malformed_initdata
 */
export function fromAnnotation(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw malformedInitdata(INITDATA_ANNOTATION, quote(text), "base64");
  try {
    // A few bytes of gzip can become gigabytes.
    return gunzipSync(bytes, { maxOutputLength: LARGEST_FILE });
  } catch (error) {
    throw malformedInitdata(INITDATA_ANNOTATION, quote(text), `gzip of at most ${LARGEST_FILE} bytes`, error);
  }
}
