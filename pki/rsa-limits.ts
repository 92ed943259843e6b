/**
 * What an RSA key has to be to be worth something, and to cost its verifier no more than a few milliseconds. Keys of more
 * bits, or with larger exponents, are made to keep others busy.
 */
export const RSA_LIMITS = { minBits: 2048, maxBits: 8192, maxExponentBits: 32 } as const;

/** @param key length of its modulus, and its public exponent */
export function isWithinRsaLimits({ bits, exponent }: { readonly bits: number; readonly exponent: bigint }): boolean {
  const { minBits, maxBits, maxExponentBits } = RSA_LIMITS;
  return bits >= minBits && bits <= maxBits && exponent > 1n && exponent < 2n ** BigInt(maxExponentBits);
}
