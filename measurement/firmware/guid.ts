/**
 * A GUID as firmware has it (UEFI 2.10, appendix A): the first three groups little-endian, the others as they are written.
 *
 * @param text lower-case, with hyphens
 * @returns 16 bytes
 */
export function guidBytes(text: string): Buffer {
  const groups = text.split("-").map((group) => Buffer.from(group, "hex"));
  return Buffer.concat(groups.map((group, index) => (index < 3 ? group.reverse() : group)));
}
