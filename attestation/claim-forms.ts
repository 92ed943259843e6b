/** How the values of claims are written in certificates: each has one text, so that texts can be compared. */

/**
 * Who vouches for a claim. The Coordinator verified all of them before it issued the certificate.
 *
 * - `hardware`: a key that only the CPU's own firmware has signed it, with the report or quote.
 * - `vendor`: AMD or Intel signed it, in a certificate of that key or in the collateral.
 * - `verifier`: the Coordinator concluded it from the chain of certificates.
 */
export type ClaimProof = "hardware" | "vendor" | "verifier";

export interface ClaimForm<V> {
  /** For people: `48 bytes`, `number`. */
  readonly type: string;
  readonly proof: ClaimProof;
  /** What is as long as a value gets. */
  readonly longest: string;
  /** @returns undefined where no value is written so */
  readonly read: (text: string) => V | undefined;
}

/** @param length that no text has exceeded so far; a longer one is read, too */
export function text(proof: ClaimProof, length: number): ClaimForm<string> {
  return { type: "text", proof, longest: "A".repeat(length), read: (text) => text };
}

/** One of these texts. */
export function oneOf<const V extends string>(proof: ClaimProof, values: readonly V[]): ClaimForm<V> {
  const longest = values.reduce<string>((one, other) => (other.length > one.length ? other : one), "");
  const type = values.length > 3 ? "a name that is known" : values.join(" or ");
  return { type, proof, longest, read: (text) => values.find((value) => value === text) };
}

/** Bytes of this length, as lower-case hexadecimal. */
export function hex(proof: ClaimProof, length: number): ClaimForm<string> {
  const isHex = (text: string): boolean => text.length === 2 * length && /^[0-9a-f]*$/.test(text);
  const read = (text: string): string | undefined => (isHex(text) ? text : undefined);
  return { type: `${length} bytes`, proof, longest: "f".repeat(2 * length), read };
}

/** Bytes of this length, or nothing. */
export function hexOrNone(proof: ClaimProof, length: number): ClaimForm<string> {
  const form = hex(proof, length);
  return { ...form, type: `${form.type} or none`, read: (text) => (text === "" ? "" : form.read(text)) };
}

/** A whole number in decimal. */
export function number(proof: ClaimProof, greatest: number): ClaimForm<number> {
  const read = (text: string): number | undefined => {
    const value = /^(?:0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Infinity;
    return value <= greatest ? value : undefined;
  };
  return { type: `number up to ${greatest}`, proof, longest: `${greatest}`, read };
}

export function flag(proof: ClaimProof): ClaimForm<boolean> {
  const read = (text: string): boolean | undefined => (text === "true" ? true : text === "false" ? false : undefined);
  return { type: "true or false", proof, longest: "false", read };
}

/** 64 bits as a number: `0x1f`. */
export function bits(proof: ClaimProof): ClaimForm<string> {
  const read = (text: string): string | undefined => (/^0x(?:0|[1-9a-f][0-9a-f]{0,15})$/.test(text) ? text : undefined);
  return { type: "64 bits", proof, longest: `0x${"f".repeat(16)}`, read };
}

/** As `bits` reads it. */
export function writeBits(value: bigint): string {
  return `0x${value.toString(16)}`;
}
