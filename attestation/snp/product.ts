import type { Cpuid } from "./report.ts";

/** Products as AMD's key distribution service names them. */
export const SNP_PRODUCTS = ["Milan", "Genoa", "Turin"] as const;
export type SnpProduct = (typeof SNP_PRODUCTS)[number];

/**
 * The product of a CPU, by its family and model (AMD publication 57230, "Determining the Product Name"). Bergamo and
 * Siena are Genoa to the key distribution service.
 *
 * @returns undefined where it is none of ours
 */
export function productOfCpuid({ family, model }: Cpuid): SnpProduct | undefined {
  if (family === 0x19 && model <= 0x0f) return "Milan";
  if (family === 0x19 && model >= 0x10 && model <= 0x1f) return "Genoa";
  if (family === 0x19 && model >= 0xa0 && model <= 0xaf) return "Genoa";
  if (family === 0x1a && model <= 0x11) return "Turin";
  return undefined;
}

/** The product of a certificate's productName, which may carry the stepping: `Milan`, `Milan-B0`. */
export function productOfName(productName: string): SnpProduct | undefined {
  const [, name] = /^([A-Za-z]+)(?:-[A-Z][0-9])?$/.exec(productName) ?? [];
  return SNP_PRODUCTS.find((product) => product === name);
}
