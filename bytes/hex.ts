/**
 * Hexadecimal text to bytes, strictly: whole bytes, no prefix, no white space.
 *
 * @returns the bytes, or undefined where the text is not hexadecimal or not `length` bytes long
 */
export function fromHex(text: string, length?: number): Uint8Array | undefined {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) return undefined;
  if (length !== undefined && text.length !== 2 * length) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** The same for what is known to be such a text: a constant, or a digest. @throws TypeError where it is not */
export function hexBytes(text: string): Uint8Array {
  const bytes = fromHex(text);
  if (bytes === undefined) throw new TypeError(`no hexadecimal: ${text.slice(0, 100)}`);
  return bytes;
}
