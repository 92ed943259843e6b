import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { toHex, toLatin1 } from "../../bytes/encode.ts";
import { refusing } from "../malformed.ts";
import { parseCertificate } from "../x509.ts";

/**
 * The certificate table that the host hands to a guest along with a report (GHCB specification, AMD publication 56421,
 * SNP Extended Guest Request): entries of GUID[16], offset u32, length u32, little-endian, the last one all zero, then
 * the certificates. Offsets count from the start of the table. The bytes of a GUID stand in the order of its text.
 *
 * The host writes it, so nothing in it is trusted: it only saves the way to AMD's key distribution service.
 */

const ENTRY_SIZE = 24;
/** Many times what is in use; without limits a host could make a guest work for long. */
const MAX_ENTRIES = 64;
export const MAX_CERTIFICATE_SIZE = 16 * 1024;

/** The entries that belong to a chain. Hosts may add others, of their own. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ["63da758de6644564adc5f4b93be8accd", "VCEK"],
  ["a8074bc2a25a483eaae639c045a0b8a1", "VLEK"],
  ["4ab7b379bbac4fe4a02f05aef327c782", "ASK or ASVK"],
  ["c0b406a4a803495297433fb6014cd0ae", "ARK"],
]);

interface Entry {
  readonly guid: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * @param table no bytes at all, or no entries, mean that the host has no certificates
 * @returns the certificates of a chain, DER, in the order of the table
 * @throws EvidenceError malformed_certificate
 */
export function parseCertificateTable(table: Uint8Array): readonly Uint8Array[] {
  if (table.length === 0) return [];
  return refusing("malformed_certificate", () => {
    const entries = readEntries(table);
    checkRanges(entries, table.length);
    return entries.flatMap((entry) => {
      const kind = KINDS.get(entry.guid);
      return kind === undefined ? [] : [readCertificate(table, entry, kind)];
    });
  });
}

function readEntries(table: Uint8Array): Entry[] {
  const cursor = new Cursor(table);
  const entries: Entry[] = [];
  for (;;) {
    const guid = toHex(cursor.bytes(16, "certificate table, GUID"));
    const offset = cursor.u32le("certificate table, offset");
    const length = cursor.u32le("certificate table, length");
    if (/^0+$/.test(guid) && offset === 0 && length === 0) return entries;
    if (entries.length === MAX_ENTRIES) {
      throw new MalformedBytes("certificate table", cursor.offset, "more entries", `at most ${MAX_ENTRIES}`);
    }
    entries.push({ guid, offset, length });
  }
}

/** Every entry lies behind the list of entries, inside the table, and on bytes of its own. */
function checkRanges(entries: readonly Entry[], size: number): void {
  let free = (entries.length + 1) * ENTRY_SIZE;
  for (const { guid, offset, length } of entries.toSorted((a, b) => a.offset - b.offset)) {
    const end = offset + length;
    if (length === 0 || offset < free || end > size) {
      throw new MalformedBytes(
        `certificate table, ${KINDS.get(guid) ?? guid}`,
        offset,
        `${length} bytes`,
        `bytes of its own between 0x${free.toString(16)} and 0x${size.toString(16)}`,
      );
    }
    free = end;
  }
}

function readCertificate(table: Uint8Array, { offset, length }: Entry, kind: string): Uint8Array {
  const field = `certificate table, ${kind}`;
  if (length > MAX_CERTIFICATE_SIZE) {
    throw new MalformedBytes(field, offset, `${length} bytes`, `at most ${MAX_CERTIFICATE_SIZE}`);
  }
  return decodeCertificate(Buffer.from(table.subarray(offset, offset + length)), field, offset);
}

/**
 * One certificate, PEM or DER: hosts do either.
 *
 * @param field and offset for the error
 * @returns DER
 * @throws MalformedBytes
 */
export function decodeCertificate(bytes: Uint8Array, field: string, offset: number): Uint8Array {
  const isDer = bytes[0] === 0x30;
  const der = isDer ? bytes : decodePem(toLatin1(bytes));
  if (der === undefined) throw new MalformedBytes(field, offset, "something else", "one certificate, DER or PEM");
  parseCertificate(der);
  return der;
}

/** RFC 7468 §3, strict: one block, nothing but white space and the zero that ends a text of C around it. */
function decodePem(text: string): Uint8Array | undefined {
  const block = /^\s*-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/\s]+={0,2})\s*-----END CERTIFICATE-----[\s\0]*$/;
  const base64 = block.exec(text)?.[1]?.replaceAll(/\s/g, "");
  return base64 === undefined || base64.length % 4 !== 0 ? undefined : Buffer.from(base64, "base64");
}
