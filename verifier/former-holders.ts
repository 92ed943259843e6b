import { generationsOf } from "../manifest/generations.ts";
import type { Step } from "../manifest/history.ts";
import { formerSeedHolders } from "../manifest/seed-holders.ts";
import { VerifyError } from "./error.ts";

/**
 * For whoever meets a deployment for the first time, as `contrast verify` does. A manifest that was read and found good does not
 * say who knows the seed: where an earlier one let others have it, they may, and with it the root CA's key.
 *
 * @param steps the history, oldest first
 * @param accepted SHA-256 of keys whose owners may know the seed, hex
 * @throws VerifyError seed_known_to_others
 */
export function requireNoFormerHolders(steps: readonly Step[], accepted: readonly string[]): void {
  const { manifests } = generationsOf(steps);
  const others = formerSeedHolders(manifests).filter(({ key }) => !accepted.includes(key));
  const [first] = others;
  if (first === undefined) return;
  throw new VerifyError("seed_known_to_others", "earlier manifests let others have the seed than the one in force", {
    where: `manifest ${first.manifest} of ${manifests.length}, $.SeedshareOwnerPubKeys and $.SeedshareThreshold`,
    got: others.map(({ key }) => key).join(", "),
    want: "the seed share owners of the manifest in force, and no lower threshold before",
    hint:
      "whoever made the first manifest may have made the seed known to himself: ask the workload owners who these are, " +
      "and accept each that you trust; `contrast rekey` makes a new seed",
  });
}
