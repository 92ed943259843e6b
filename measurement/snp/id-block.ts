import { createHash, createPublicKey, type KeyObject, sign } from "node:crypto";
import { u32le, u64le } from "../../bytes/numbers.ts";
import { MeasurementError } from "../error.ts";

/**
 * The ID block, with which the CPU starts a guest only if it has this measurement, and then reports who signed it (AMD
 * publication 56860, SEV-SNP firmware ABI, SNP_LAUNCH_FINISH: "ID Block" and "ID Authentication Information"). Kata takes
 * both in base64, as `snp_id_block` and `snp_id_auth`.
 */

const ECDSA_P384_SHA384 = 1;
const CURVE_P384 = 2;
const KEY_SIZE = 0x404;
const SIGNATURE_SIZE = 0x200;
/** Little-endian, of which 48 bytes are used. */
const SCALAR_SIZE = 72;
const AUTH_SIZE = 4096;

export interface IdBlockFields {
  /** 48 bytes. */
  readonly measurement: Buffer;
  /** 16 bytes, as the signer chooses them. */
  readonly familyId: Buffer;
  readonly imageId: Buffer;
  /** Of 32 bits. */
  readonly guestSvn: number;
  /** POLICY that the guest has to be started with. */
  readonly policy: bigint;
}

export interface IdBlock {
  /** 96 bytes. */
  readonly block: Buffer;
  /** 4096 bytes: signatures and public keys. */
  readonly auth: Buffer;
}

/**
 * @param idKey private, ECDSA on P-384
 * @param authorKey the same; signs the ID key. Undefined: nobody does, and AUTHOR_KEY_DIGEST is zero
 * @throws MeasurementError id_key_algorithm
 */
export function signIdBlock(fields: IdBlockFields, idKey: KeyObject, authorKey: KeyObject | undefined): IdBlock {
  const block = Buffer.concat([
    fields.measurement,
    fields.familyId,
    fields.imageId,
    u32le(1), // VERSION
    u32le(fields.guestSvn),
    u64le(fields.policy),
  ]);
  const idPublic = encodeKey(idKey, "the ID key");
  const auth = Buffer.alloc(AUTH_SIZE);
  auth.writeUInt32LE(ECDSA_P384_SHA384, 0);
  signed(block, idKey).copy(auth, 0x40);
  idPublic.copy(auth, 0x240);
  if (authorKey !== undefined) {
    const authorPublic = encodeKey(authorKey, "the author key");
    auth.writeUInt32LE(ECDSA_P384_SHA384, 4);
    signed(idPublic, authorKey).copy(auth, 0x680);
    authorPublic.copy(auth, 0x880);
  }
  return { block, auth };
}

/**
 * ID_KEY_DIGEST or AUTHOR_KEY_DIGEST of a report, 48 bytes.
 *
 * @param key public or private
 * @param name of the key, for the error
 * @throws MeasurementError id_key_algorithm
 */
export function idKeyDigest(key: KeyObject, name: string): Buffer {
  return createHash("sha384").update(encodeKey(key, name)).digest();
}

/** CURVE, QX, QY ("ECDSA P-384 Public Key"). */
function encodeKey(key: KeyObject, name: string): Buffer {
  const { x, y, crv } = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  if (crv !== "P-384" || x === undefined || y === undefined) {
    throw new MeasurementError("id_key_algorithm", `${name} is of another kind than the CPU verifies`, {
      got: `${key.asymmetricKeyType ?? "a secret"}${crv === undefined ? "" : `, ${crv}`}`,
      want: "ECDSA on P-384",
      hint: "make one with `openssl ecparam -name secp384r1 -genkey -noout`",
    });
  }
  const point = [x, y].map((coordinate) => scalar(Buffer.from(coordinate, "base64url")));
  return Buffer.concat([u32le(CURVE_P384), ...point], KEY_SIZE);
}

function signed(bytes: Buffer, key: KeyObject): Buffer {
  const signature = sign("sha384", bytes, { key, dsaEncoding: "ieee-p1363" });
  return Buffer.concat([scalar(signature.subarray(0, 48)), scalar(signature.subarray(48))], SIGNATURE_SIZE);
}

/** @param bigEndian 48 bytes */
function scalar(bigEndian: Buffer): Buffer {
  return Buffer.concat([Buffer.from(bigEndian).reverse()], SCALAR_SIZE);
}
