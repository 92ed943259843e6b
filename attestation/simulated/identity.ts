import { toHex } from "../../bytes/encode.ts";
import { fromHex } from "../../bytes/hex.ts";
import { readRequired, unusable } from "./files.ts";

/** What the hypervisor and the firmware of a VM know at its launch; identity.json, byte strings in hexadecimal. */
export interface Identity {
  readonly hostData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly chipId: Uint8Array;
  readonly reportId: Uint8Array;
  /** Undefined: nobody signed the image. */
  readonly idBlock?: IdBlock | undefined;
}

/** What somebody signed about the image, and who did (`snp/image.ts`). The signatures are taken for verified. */
export interface IdBlock {
  /** 48 bytes. */
  readonly idKeyDigest: Uint8Array;
  /** 48 bytes; all zero: nobody signed the ID key. */
  readonly authorKeyDigest: Uint8Array;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  /** u32. */
  readonly guestSvn: number;
}

/** Key in the file and length in bytes. */
const FIELDS = {
  hostData: ["HostData", 32],
  measurement: ["Measurement", 48],
  chipId: ["ChipID", 64],
  reportId: ["ReportID", 32],
} as const;
const ID_BLOCK_FIELDS = {
  idKeyDigest: ["IDKeyDigest", 48],
  authorKeyDigest: ["AuthorKeyDigest", 48],
  familyId: ["FamilyID", 16],
  imageId: ["ImageID", 16],
} as const;

type Fields<Name extends string> = Readonly<Record<Name, readonly [key: string, length: number]>>;
type JsonObject = Readonly<Record<string, unknown>>;

export function encodeIdentity({ idBlock, ...identity }: Identity): string {
  const signed = idBlock && { ...encodeFields(idBlock, ID_BLOCK_FIELDS), GuestSVN: idBlock.guestSvn };
  return `${JSON.stringify({ ...encodeFields(identity, FIELDS), IDBlock: signed }, undefined, 2)}\n`;
}

function encodeFields<Name extends string>(
  values: Readonly<Record<NoInfer<Name>, Uint8Array>>,
  fields: Fields<Name>,
): JsonObject {
  return Object.fromEntries(
    (Object.keys(fields) as Name[]).map((name) => {
      const [[key, length], value] = [fields[name], values[name]];
      if (value.length !== length) throw new RangeError(`${name}: got ${value.length} bytes, want ${length}`);
      return [key, toHex(value)];
    }),
  );
}

/** @throws EvidenceError tee_unavailable */
export async function readIdentity(dir: string): Promise<Identity> {
  const file = parseObject(await readRequired(dir, "identity.json"));
  const idBlock = file["IDBlock"];
  return {
    ...readFields(dir, file, FIELDS),
    idBlock: idBlock === undefined ? undefined : readIdBlock(dir, Object(idBlock) as JsonObject),
  };
}

function readIdBlock(dir: string, file: JsonObject): IdBlock {
  const guestSvn = file["GuestSVN"];
  if (typeof guestSvn !== "number" || guestSvn >>> 0 !== guestSvn) {
    throw unusable(dir, "identity.json", `GuestSVN: ${JSON.stringify(guestSvn)}`, "GuestSVN: a number of 32 bits");
  }
  return { ...readFields(dir, file, ID_BLOCK_FIELDS), guestSvn };
}

function readFields<Name extends string>(
  dir: string,
  file: JsonObject,
  fields: Fields<Name>,
): Record<Name, Uint8Array> {
  const entries = (Object.keys(fields) as Name[]).map((name) => {
    const [key, length] = fields[name];
    const text = file[key];
    const value = typeof text === "string" ? fromHex(text, length) : undefined;
    if (value !== undefined) return [name, value];
    const want = `${key}: ${length} bytes in hexadecimal`;
    throw unusable(dir, "identity.json", `${key}: ${JSON.stringify(text)}`, want);
  });
  return Object.fromEntries(entries) as Record<Name, Uint8Array>;
}

/** What is not an object lacks every field. */
function parseObject(text: string): JsonObject {
  try {
    return Object(JSON.parse(text)) as JsonObject;
  } catch {
    return {};
  }
}
