import { generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { toBase64 } from "../../bytes/encode.ts";
import { TAG } from "../../pki/der.ts";
import {
  encodeBitString,
  encodeDer,
  encodeInteger,
  encodeOid,
  encodeSequence,
  encodeTime,
} from "../../pki/der-writer.ts";
import { spki } from "../../pki/keys.ts";

/** As many as fit into what OpenSSL takes of a peer's certificates, 100 KiB. */
const LENGTH = 70;

/**
 * A chain whose every CA has a key of RSA-3072 with an exponent as long as the modulus: to verify a signature by it takes
 * as long as to make one. No signature is right, which OpenSSL knows when it has verified them all.
 */
export function hugeExponentChain(): { readonly key: KeyObject; readonly pem: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = certificate("leaf", "ca 1", spki(publicKey));
  const cas = Array.from({ length: LENGTH }, (_, index) =>
    certificate(`ca ${index + 1}`, `ca ${index + 2}`, hugeKey()),
  );
  return { key: privateKey, pem: [leaf, ...cas].map(toPem).join("") };
}

const ALGORITHM = encodeSequence(encodeOid("1.2.840.113549.1.1.11"), encodeDer(TAG.null));

function certificate(subject: string, issuer: string, publicKey: Uint8Array): Uint8Array {
  const constraints = encodeSequence(
    encodeOid("2.5.29.19"),
    encodeDer(TAG.octetString, encodeSequence(encodeDer(TAG.boolean, Buffer.of(0xff)))),
  );
  const tbs = encodeSequence(
    encodeDer(TAG.context(0), encodeInteger(2)),
    encodeInteger(1),
    ALGORITHM,
    name(issuer),
    encodeSequence(encodeTime(new Date("2020-01-01")), encodeTime(new Date("2049-01-01"))),
    name(subject),
    publicKey,
    encodeDer(TAG.context(3), encodeSequence(constraints)),
  );
  return encodeSequence(tbs, ALGORITHM, encodeBitString(Buffer.alloc(384, 0x5a)));
}

function name(text: string): Uint8Array {
  const attribute = encodeSequence(encodeOid("2.5.4.3"), encodeDer(TAG.utf8String, Buffer.from(text)));
  return encodeSequence(encodeDer(TAG.set, attribute));
}

function hugeKey(): Uint8Array {
  // OpenSSL takes no exponent that is larger than the modulus.
  const odd = (first: number): Uint8Array => {
    const bytes = randomBytes(384);
    bytes.writeUInt8(first, 0);
    bytes.writeUInt8(bytes.readUInt8(383) | 1, 383);
    return encodeDer(TAG.integer, first < 0x80 ? bytes : Buffer.concat([Buffer.of(0), bytes]));
  };
  const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), encodeDer(TAG.null));
  return encodeSequence(algorithm, encodeBitString(encodeSequence(odd(0xff), odd(0x7f))));
}

function toPem(der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}
