/** The platforms that `generate` knows (docs/design.md §8). What is known about each stands in platforms.ts. */
export const PLATFORMS = [
  "aks-clh-snp",
  "k3s-qemu-snp",
  "k3s-qemu-tdx",
  "metal-qemu-snp",
  "metal-qemu-tdx",
  "simulated",
] as const;
export type Platform = (typeof PLATFORMS)[number];
