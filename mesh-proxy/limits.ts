import type { GateLimits } from "../runtime/gate.ts";
import { type Configuration, Malformed, type Variable } from "../runtime/environment.ts";
import { duration } from "../runtime/variables.ts";

/**
 * How much of the proxy its peers may use. A source is an IPv4 address or a /64 of IPv6; see `sourceOf`. Behind a load
 * balancer that translates addresses everybody is one source, so that a share is large; yet no source has it all.
 */
export interface Limits {
  /** Open connections from outside. */
  readonly ingress: GateLimits;
  /** Open connections of each egress listener: only the application of the pod reaches it. */
  readonly egress: GateLimits;
  /** TLS handshakes of clients under way; whoever waits for a turn costs a connection and nothing of TLS. */
  readonly handshakes: GateLimits;
  /** How long a client may take for its handshake, and before that for its turn, in milliseconds. */
  readonly handshakeMs: number;
}

export const limitVariables = {
  CONTRAST_MAX_INGRESS_CONNECTIONS: count("ingress connections at once (default: by the limit of open files)"),
  CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: count("of these, from one address or IPv6 /64 (default: half)"),
  CONTRAST_MAX_EGRESS_CONNECTIONS: count("connections at once per egress rule (default: by the limit of open files)"),
  CONTRAST_MAX_HANDSHAKES: count("TLS handshakes of clients at once; others wait (default: 512)"),
  CONTRAST_MAX_HANDSHAKES_PER_SOURCE: count("of these, from one address or IPv6 /64 (default: a quarter)"),
  CONTRAST_HANDSHAKE_TIMEOUT: duration(10_000, "how long a client's TLS handshake may take (default: 10s)"),
} as const;

export type LimitConfiguration = Configuration<typeof limitVariables>;

/** Where there are descriptors for more, memory is the limit: an idle connection takes some 60 KiB. */
const MOST_CONNECTIONS = 16_384;

const HANDSHAKES = 512;

export interface Sharing {
  /** For all connections; Infinity: without a limit. */
  readonly descriptors: number;
  readonly hasIngress: boolean;
  readonly egressRules: number;
}

/** The limits that are set, and for the others such that everybody together has descriptors enough. */
export function limitsOf(configuration: LimitConfiguration, { descriptors, hasIngress, egressRules }: Sharing): Limits {
  // A connection has two ends.
  const connections = descriptors / 2;
  // A flood from outside must leave the application its own connections, and the other way round.
  const share = hasIngress && egressRules > 0 ? connections / 2 : connections;
  const atMost = (most: number): number => Math.max(1, Math.min(MOST_CONNECTIONS, Math.floor(most)));

  const total = configuration.CONTRAST_MAX_INGRESS_CONNECTIONS ?? atMost(share);
  const perPeer = configuration.CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE ?? Math.ceil(total / 2);
  const egress = configuration.CONTRAST_MAX_EGRESS_CONNECTIONS ?? atMost(share / Math.max(1, egressRules));
  return {
    ingress: { total, perPeer },
    egress: { total: egress, perPeer: egress },
    // Whoever has a connection may wait.
    handshakes: { ...handshakeLimits(configuration), waiting: { total, perPeer } },
    handshakeMs: configuration.CONTRAST_HANDSHAKE_TIMEOUT,
  };
}

export function handshakeLimits(configuration: LimitConfiguration): GateLimits {
  const total = configuration.CONTRAST_MAX_HANDSHAKES ?? HANDSHAKES;
  return { total, perPeer: configuration.CONTRAST_MAX_HANDSHAKES_PER_SOURCE ?? Math.ceil(total / 4) };
}

function count(help: string): Variable<number | undefined> {
  return {
    help,
    unset: undefined,
    parse(text) {
      if (!/^[1-9]\d{0,6}$/.test(text)) throw Malformed.text(text, "a number from 1 to 9999999");
      return Number(text);
    },
  };
}
