import { toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";

const HASH_SIZE = 32;

/**
 * The hash of the policy in MRCONFIGID. Zeros follow it: what stood there would say something that nobody compares.
 *
 * @param mrConfigId 48 bytes
 * @returns 64 digits of lower-case hex
 * @throws EvidenceError config_id_malformed
 */
export function policyHashOf(mrConfigId: Uint8Array): string {
  if (mrConfigId.subarray(HASH_SIZE).some((byte) => byte !== 0)) {
    throw new EvidenceError("config_id_malformed", "the VM was launched with something else than a policy hash", {
      where: "MRCONFIGID",
      got: toHex(mrConfigId),
      want: "a hash of 32 bytes and 16 zero bytes",
    });
  }
  return toHex(mrConfigId.subarray(0, HASH_SIZE));
}
