import * as z from "zod/mini";
import { record } from "./schema.ts";

/**
 * Which versions of a workload's transit key there are. It encrypts by the latest, and decrypts what is not of before the
 * minimum. No API changes them: a manifest does, which owners sign.
 */
export interface TransitVersions {
  readonly latest: number;
  readonly minimum: number;
}

export const FIRST_VERSION: TransitVersions = { latest: 1, minimum: 1 };

const MOST = 0xffff_ffff;
const WANT = `a whole number from 1 to ${MOST}`;
const version = z.int({ error: WANT }).check(z.minimum(1, { error: WANT }), z.maximum(MOST, { error: WANT }));

export const transitVersions = record({
  LatestVersion: z.optional(version),
  MinimumVersion: z.optional(version),
}).check(
  z.superRefine(({ LatestVersion: latest = 1, MinimumVersion: minimum = 1 }, context) => {
    const isVersion = (value: unknown): boolean => version.safeParse(value).success;
    if (minimum <= latest || !isVersion(minimum) || !isVersion(latest)) return;
    context.addIssue({ code: "custom", path: ["MinimumVersion"], message: "a number that is not above LatestVersion" });
  }),
);

export function readTransitVersions({
  LatestVersion: latest = 1,
  MinimumVersion: minimum = 1,
}: {
  readonly LatestVersion?: number | undefined;
  readonly MinimumVersion?: number | undefined;
} = {}): TransitVersions {
  return { latest, minimum };
}
