import { notSeedshareOwner } from "../state/authorize.ts";
import type { User } from "./user.ts";

/** What is asked of the state. */
interface OwnersKnown {
  /**
   * SHA-256, hex, of the SubjectPublicKeyInfo of all owners. In recovery they are those of the stored manifest, which
   * nobody has verified: they may decide who is let in first, and nothing else.
   */
  readonly ownersInsecure: ReadonlySet<string>;
}

/**
 * Owners have places that nobody else can have, and accounts of their own: a flood from their address, or from all
 * others, keeps no owner out who has come as far as to show his key.
 */
export function ownerAccount({ ownersInsecure }: OwnersKnown, { key }: User): string | undefined {
  return ownersInsecure.has(key) ? `owner ${key}` : undefined;
}

/**
 * Recovery reads the whole state anew before it can say whose it is, and does so in turn with every other change. Who is no
 * owner at all by what was read at the start is refused before that, as he would be after it.
 *
 * @throws Refusal `not_seedshare_owner`
 */
export function requireAnyOwner({ ownersInsecure }: OwnersKnown, { key }: User): void {
  // Nobody is known where the state is empty, or was damaged then: what is wrong is said by the recovery itself.
  if (ownersInsecure.size === 0 || ownersInsecure.has(key)) return;
  throw notSeedshareOwner(key);
}
