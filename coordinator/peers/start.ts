import type { Attester } from "../../attestation/evidence.ts";
import type { KeyPair } from "../../pki/keys.ts";
import { type AcceptanceOptions, peerAcceptance } from "./acceptance.ts";
import { peerAddresses, type Resolver } from "./addresses.ts";
import { PeerClient } from "./peer-client.ts";
import { Peers, type PeersOptions, type PeerStatus } from "./peers.ts";
import { PointerMonitor } from "./pointer-monitor.ts";
import type { PeerHost } from "./variables.ts";
import type { Store } from "../../store/store.ts";

export interface PeerOptions
  extends Omit<AcceptanceOptions, "own">, Omit<PeersOptions, "addresses" | "connect" | "lookAtStore" | "ownPolicy"> {
  /** Undefined: there are no peers, and the store alone is followed. */
  readonly own: AcceptanceOptions["own"] | undefined;
  readonly store: Store;
  readonly hosts: readonly PeerHost[];
  readonly resolver: Resolver;
  readonly attester: Attester;
  /** Of this Coordinator's connections to its peers; anybody's will do. */
  readonly keys: KeyPair;
  readonly now: () => Date;
}

export interface RunningPeers {
  readonly status: () => readonly PeerStatus[];
  readonly live: () => number;
  stop(): void;
}

/** Follows the store, and the other Coordinators that have it, too. */
export function startPeers(options: PeerOptions): RunningPeers {
  const { store, guard, hosts, resolver, own, attester, keys, now, monotonic, audit, log } = options;
  const monitor = new PointerMonitor({ store, guard, monotonic, audit, log });
  if (own === undefined) return { status: () => [], live: () => 0, stop: monitor.start() };
  const accept = peerAcceptance({ ...options, own });
  const peers = new Peers({
    ...options,
    addresses: () => peerAddresses(hosts, resolver),
    connect: (target) => new PeerClient({ target, keys, attester, accept, now }),
    lookAtStore: () => monitor.poke(),
    ownPolicy: own.policyHash,
  });
  const ends = [monitor.start(), peers.start()];
  return {
    status: () => peers.status,
    live: () => peers.live,
    stop() {
      for (const end of ends) end();
    },
  };
}
