/** For tests: certificate tables as hosts make them (see certificate-table.ts). */

/** In the order of the bytes, without hyphens. */
export const CERTIFICATE_GUIDS = {
  vcek: "63da758de6644564adc5f4b93be8accd",
  vlek: "a8074bc2a25a483eaae639c045a0b8a1",
  ask: "4ab7b379bbac4fe4a02f05aef327c782",
  ark: "c0b406a4a803495297433fb6014cd0ae",
} as const;

export interface TableEntry {
  readonly guid: string;
  readonly bytes: Uint8Array;
  /** Where it stands, if not behind the one before it. */
  readonly offset?: number;
  /** What the table says, if not the truth. */
  readonly length?: number;
}

export function encodeCertificateTable(entries: readonly TableEntry[]): Uint8Array {
  let free = (entries.length + 1) * 24;
  const heads: Uint8Array[] = [];
  const bodies: Uint8Array[] = [];
  for (const { guid, bytes, offset = free, length = bytes.length } of entries) {
    const head = Buffer.alloc(24);
    head.write(guid, "hex");
    head.writeUInt32LE(offset, 16);
    head.writeUInt32LE(length, 20);
    heads.push(head);
    bodies.push(bytes);
    free += bytes.length;
  }
  return Buffer.concat([...heads, Buffer.alloc(24), ...bodies]);
}
