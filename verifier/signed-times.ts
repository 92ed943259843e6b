import type { SignedTime } from "../attestation/signed-time.ts";
import type { VerifiedEvidence } from "../attestation/tee.ts";

/** @returns the newest time that the vendor signed in what vouches for the evidence */
export function newestSigned({ path, signedTimes }: VerifiedEvidence): SignedTime {
  const [leaf] = path;
  // Every chain has one.
  if (leaf === undefined) throw new RangeError("a chain without certificates");
  const first = { what: `notBefore of the certificate of ${leaf.commonName}`, time: leaf.notBefore };
  return signedTimes.reduce<SignedTime>((newest, each) => (each.time > newest.time ? each : newest), first);
}
