import type { ChannelLimits } from "../channel/limits.ts";
import type { ProbeLimits } from "./probe-port.ts";

/**
 * How much of the Coordinator its peers may use. Behind a load balancer that translates addresses, all workloads of a
 * cluster are one peer: a thousand Initializers at once must get through, by waiting and by trying again. Yet no single
 * address may take all, so that others are served whatever it does.
 */

const TIMES = { handshakeMs: 10_000, idleMs: 30_000, ageMs: 5 * 60_000 } as const;

/** For people. A gRPC message holds the policies of a deployment, so that each connection may cost some memory. */
export const USER_LIMITS: ChannelLimits = {
  ...TIMES,
  messageBytes: 16 * 1024 * 1024,
  connections: { total: 32, perPeer: 16 },
  handshakes: { total: 16, perPeer: 8, waiting: { total: 32, perPeer: 16 } },
  largeMessages: { total: 4, perPeer: 2, waiting: { total: 32, perPeer: 16 } },
  // Mostly the Coordinator's own evidence, of which the firmware makes one at a time.
  appraisals: { total: 8, perPeer: 4, waiting: { total: 32, perPeer: 16 } },
};

/** For workloads. Requests are empty, evidence comes before. */
export const MESH_LIMITS: ChannelLimits = {
  ...TIMES,
  messageBytes: 4096,
  connections: { total: 2048, perPeer: 1024 },
  // Peers that say nothing hold a place for ten seconds: as many as this have to, to slow down those of their address.
  handshakes: { total: 1024, perPeer: 512, waiting: { total: 2048, perPeer: 1024 } },
  largeMessages: { total: 32, perPeer: 16, waiting: { total: 512, perPeer: 256 } },
  // Only evidence that waits for a vendor stays for longer than a few milliseconds.
  appraisals: { total: 256, perPeer: 128, waiting: { total: 1024, perPeer: 512 } },
};

/** For probes, metrics and health checks. */
export const PROBE_LIMITS: ProbeLimits = { connections: 64, requestMs: 10_000, idleMs: 30_000, ageMs: 10 * 60_000 };
