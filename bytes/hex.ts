/**
 * Hexadecimal text to bytes, strictly: whole bytes, no prefix, no white space.
 *
 * @returns the bytes, or undefined where the text is not hexadecimal or not `length` bytes long
 */
export function fromHex(text: string, length?: number): Buffer | undefined {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "hex");
  return length === undefined || bytes.length === length ? bytes : undefined;
}
