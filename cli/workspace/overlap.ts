import type { SetManifestResponse } from "../../api/userapi_pb.ts";
import { encodeTime } from "../../manifest/manifest.ts";

/** Whether certificates of before are still trusted, for people and programs. */
export function overlapOf({ previousMeshCaUntil: until, overlapRefused }: SetManifestResponse): Record<string, string> {
  if (until > 0n) return { earlierCertificatesUntil: encodeTime(new Date(Number(until) * 1000)) };
  return overlapRefused === "" ? {} : { earlierCertificatesEnded: overlapRefused };
}
