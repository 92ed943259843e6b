import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { toHex } from "../../bytes/encode.ts";
import { u32be } from "../../bytes/numbers.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { readSigned } from "../../manifest/read-signed.ts";

/**
 * What one workload owner allowed of a change that lacks others' leave, as it is stored: a record of kind `consents`.
 *
 * version u8 (1 or 2) ‖ SHA-256 of the manifest ‖ SHA-256 of the transition that it follows
 *   ‖ SHA-256 of the mesh CA's SubjectPublicKeyInfo ‖ SHA-256 of the annex (version 2 only) ‖ size u32be ‖ revoke u8 (0 or 1)
 *   ‖ length u32be ‖ SubjectPublicKeyInfo of the owner ‖ length u32be ‖ signature (manifest/change.ts)
 *
 * Version 2 is that of an amendment: its manifest is the one in force.
 *
 * The size is that of the manifest and its policies, or of the annex and the ciphertexts that it is the first to name, in bytes. The owner's signature does not cover it, nor whether the owner
 * wants no certificate of before to be trusted any more: the one decides about room alone, the other only takes trust away.
 */
export interface Consent extends ChangeSignature {
  /** Hex, as all digests here. */
  readonly manifest: string;
  readonly previous: string;
  readonly meshKey: string;
  /** Undefined: it is no amendment. */
  readonly annex?: string | undefined;
  readonly size: number;
  readonly revoke: boolean;
}

const DIGEST = 32;

export function encodeConsent(consent: Consent): Buffer {
  const { manifest, previous, meshKey, annex, size, revoke, publicKey, signature } = consent;
  const named = [manifest, previous, meshKey, ...(annex === undefined ? [] : [annex])];
  const version = annex === undefined ? 1 : 2;
  const digests = named.map((digest) => Buffer.from(digest, "hex"));
  const signed = [u32be(publicKey.length), publicKey, u32be(signature.length), signature];
  return Buffer.concat([Buffer.of(version), ...digests, u32be(size), Buffer.of(Number(revoke)), ...signed]);
}

/** @throws MalformedBytes; its field is `version` where another version wrote it */
export function parseConsent(record: Uint8Array): Consent {
  const cursor = new Cursor(record);
  const version = cursor.u8("version");
  if (version !== 1 && version !== 2) throw new MalformedBytes("version", 0, String(version), "1 or 2");
  const digest = (field: string): string => toHex(cursor.bytes(DIGEST, field));
  const manifest = digest("manifest");
  const previous = digest("previous");
  const meshKey = digest("mesh CA key");
  const annex = version === 2 ? digest("annex") : undefined;
  const size = cursor.u32be("size");
  const at = cursor.offset;
  const revoke = cursor.u8("revoke");
  if (revoke > 1) throw new MalformedBytes("revoke", at, String(revoke), "0 or 1");
  const publicKey = readSigned(cursor, "key");
  const signature = readSigned(cursor, "signature");
  cursor.end("consent");
  return { manifest, previous, meshKey, annex, size, revoke: revoke === 1, publicKey, signature };
}
