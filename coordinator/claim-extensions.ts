import type { Claims } from "../attestation/claims.ts";

/**
 * The verified claims as extensions of the workload's certificate, one UTF8String each (X.690 §8.23), so that
 * `openssl x509 -text` shows them and a peer can decide by them. The arc is the one under which Contrast's certificates
 * carry SNP claims; the numbers are those of the list, so entries are only ever added at its end.
 */
const ARC = "1.3.9901.2.1";
const CLAIMS = [
  "tee",
  "product",
  "measurement",
  "hostData",
  "chipId",
  "reportedTcb",
  "vmpl",
  "debug",
  "insecure",
] as const satisfies readonly (keyof Claims)[];

/** @returns object identifier to DER */
export function claimExtensions(claims: Claims): Map<string, Buffer> {
  return new Map(CLAIMS.map((name, index) => [`${ARC}.${index + 1}`, utf8String(String(claims[name]))]));
}

function utf8String(text: string): Buffer {
  const content = Buffer.from(text);
  // Claims are short: hashes in hexadecimal at most. The long form of up to 255 bytes is enough for them.
  const length = content.length < 0x80 ? Buffer.of(content.length) : Buffer.of(0x81, content.length);
  return Buffer.concat([Buffer.of(0x0c), length, content]);
}
