import type { PinnedPackage } from "./npm-package.ts";

/**
 * The Node of the images: `node-linux-<arch>`, the npm packages that hold the bare binary, pinned by what npm calls
 * their integrity. They are the version that tests and demo run on, which package-lock.json names.
 */
export const NODE_VERSION = "26.10.0";

export const NODE_INTEGRITY = {
  x64: "sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==",
  arm64: "sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==",
} as const;

/** @param cpu as Node calls it */
export function nodePackage(cpu: keyof typeof NODE_INTEGRITY): PinnedPackage {
  return { name: `node-linux-${cpu}`, version: NODE_VERSION, integrity: NODE_INTEGRITY[cpu] };
}
