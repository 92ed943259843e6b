import { Refusal } from "../../api/refusal.ts";
import type { Identity } from "../../attestation/identity.ts";

/** A launch from which secrets may be taken beside one's own: an entry of CONTRAST_PEER_POLICIES. */
export interface ListedPeer {
  /** SHA-256 of the policy document, hex; `own`: that of this Coordinator. */
  readonly policy: string;
  /** Hex, as `Launch.measurement`; undefined: that of this Coordinator. */
  readonly measurement: string | undefined;
}

/** What a VM is by its own evidence. `simulated`: the evidence proves nothing about hardware. */
export type Attested = Identity & { readonly simulated: boolean };

/**
 * Whether secrets may be taken from a peer. Nothing of the store and of any manifest has a say: a host can store a manifest of
 * its own, with the honest owners' keys, in which a policy that allows everything is a Coordinator's. What the receiver can
 * rely on is itself: the peer runs the same program under the same policy, or one that this Coordinator's policy names, for
 * the policy pins the environment of its container.
 *
 * @param own by evidence that the host can't change on its way (attestation/own-identity.ts)
 * @param peer by verified evidence of this connection
 * @param listed from this Coordinator's own environment
 * @throws Refusal `peer_not_accepted`
 */
export function acceptPeer(own: Attested, peer: Attested, listed: readonly ListedPeer[]): void {
  const refuse = (where: string, got: string, want: string, hint?: string): Refusal =>
    new Refusal("peer_not_accepted", "the peer is not launched as a Coordinator whose secrets may be taken", {
      where,
      got,
      want,
      hint,
    });
  // The host could have written the secrets into its memory.
  if (peer.exposed) throw refuse("the peer's evidence", "a VM that its host may debug or migrate", "a VM of its own");
  if (peer.simulated !== own.simulated) throw refuse("the peer's evidence", teeOf(peer), teeOf(own));
  if (peer.kind !== own.kind) throw refuse("the peer's evidence", peer.kind, own.kind);
  const accepted = [{ policy: "own", measurement: undefined }, ...listed].map(({ policy, measurement }) => ({
    policy: policy === "own" ? own.policyHash : policy,
    measurement: measurement ?? own.measurement,
  }));
  const ofPolicy = accepted.filter(({ policy }) => policy === peer.policyHash);
  const hint = "during an update, name the Coordinator before it in CONTRAST_PEER_POLICIES of the new one";
  if (ofPolicy.length === 0) {
    throw refuse("the peer's policy", peer.policyHash, accepted.map(({ policy }) => policy).join(" or "), hint);
  }
  if (ofPolicy.some(({ measurement }) => measurement === peer.measurement)) return;
  const want = ofPolicy.map(({ measurement }) => measurement).join(" or ");
  throw refuse("the peer's measurement", peer.measurement, want, hint);
}

function teeOf({ simulated }: Attested): string {
  return simulated ? "a software TEE" : "hardware";
}
