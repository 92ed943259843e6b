import type { Step } from "../../manifest/history.ts";
import { formerSeedHolders } from "../../manifest/seed-holders.ts";
import { CliError } from "../context.ts";
import { generationsOf } from "../../manifest/generations.ts";

/**
 * For whoever meets a deployment for the first time. A manifest that was read and found good does not say who knows its
 * seed: where an earlier manifest let others have it, they may, and with it root CA key and workload secrets.
 *
 * @param steps the history, oldest first
 * @param accepted SHA-256 of keys whose owners may know the seed, hex
 * @throws CliError seed_known_to_others
 */
export function requireNoFormerHolders(steps: readonly Step[], accepted: readonly string[]): void {
  const { manifests } = generationsOf(steps);
  const others = formerSeedHolders(manifests).filter(({ key }) => !accepted.includes(key));
  const [first] = others;
  if (first === undefined) return;
  throw new CliError("seed_known_to_others", "earlier manifests let others have the seed than the one in force", {
    where: `manifest ${first.manifest} of ${manifests.length}, $.SeedshareOwnerPubKeys and $.SeedshareThreshold`,
    got: others.map(({ key }) => key).join(", "),
    want: "the seed share owners of the manifest in force, and no lower threshold before",
    hint:
      "whoever made the first manifest may have made the seed known to himself: ask the workload owners who these are; " +
      "`contrast rekey` makes a new seed, and `contrast verify --former-seedshare-owner <hex>` accepts one",
  });
}
