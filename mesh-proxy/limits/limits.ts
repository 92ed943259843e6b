import { type BudgetLimits, budgetLimits } from "../../runtime/budget.ts";
import type { SemaphoreLimits } from "../../runtime/keyed-semaphore.ts";
import { memoryLimitVariable } from "../../runtime/memory-limit.ts";
import { type Configuration, Malformed, type Variable } from "../../runtime/environment.ts";
import { duration } from "../../runtime/variables.ts";
import { type Footprint, memoryParts } from "./memory.ts";

/**
 * How much of the proxy its peers may use. A source is an IPv4 address or a /64 of IPv6; see
 * `sourceOf`. None has half of anything unless somebody says so.
 */
export interface Limits {
  /** Open connections from outside. */
  readonly ingress: SemaphoreLimits;
  /** Open connections of each egress listener: only the application of the pod reaches it. */
  readonly egress: SemaphoreLimits;
  /** TLS handshakes of clients under way; whoever waits for a turn costs a connection and nothing of TLS. */
  readonly handshakes: SemaphoreLimits;
  /** Bytes that wait for peers to take them. The application of the pod is one source. */
  readonly heldBytes: BudgetLimits;
  /** How long a client may take to begin, then for its turn, and then for its handshake, in milliseconds. */
  readonly handshakeMs: number;
}

export const limitVariables = {
  CONTRAST_MEMORY_LIMIT: memoryLimitVariable,
  CONTRAST_MAX_INGRESS_CONNECTIONS: count("ingress connections at once (default: by memory and open files)"),
  CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: count("of these, from one address or IPv6 /64 (default: a quarter)"),
  CONTRAST_MAX_EGRESS_CONNECTIONS: count("connections at once per egress rule (default: by memory and open files)"),
  CONTRAST_MAX_HANDSHAKES: count("TLS handshakes of clients at once; others wait (default: by memory, at most 512)"),
  CONTRAST_MAX_HANDSHAKES_PER_SOURCE: count("of these, from one address or IPv6 /64 (default: a quarter)"),
  CONTRAST_HANDSHAKE_TIMEOUT: duration(10_000, "how long a client's TLS handshake may take (default: 10s)"),
} as const;

export type LimitConfiguration = Configuration<typeof limitVariables>;

const MOST_CONNECTIONS = 16_384;

const MOST_HANDSHAKES = 512;

/** A source has so much of anything: two of them, together with a third, still leave room for others. */
const SOURCES = 4;

export interface Sharing {
  /** Of the process, in bytes. */
  readonly memory: number;
  /** Of the engine. */
  readonly footprint: Footprint;
  /** For all connections; Infinity: without a limit. */
  readonly descriptors: number;
  readonly hasIngress: boolean;
  readonly egressRules: number;
}

/** The limits that are set, and for the others such that everybody together has memory and descriptors enough. */
export function limitsOf(configuration: LimitConfiguration, sharing: Sharing): Limits {
  const { memory, footprint, descriptors, hasIngress, egressRules } = sharing;
  const parts = memoryParts(memory, footprint);
  // A connection has two ends.
  const connections = Math.min(descriptors / 2, parts.connections / footprint.connection);
  // A flood from outside must leave the application its own connections, and the other way round.
  const share = hasIngress && egressRules > 0 ? connections / 2 : connections;
  const atMost = (most: number): number => Math.max(1, Math.min(MOST_CONNECTIONS, Math.floor(most)));

  const total = configuration.CONTRAST_MAX_INGRESS_CONNECTIONS ?? atMost(share);
  const perPeer = configuration.CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE ?? partOfSource(total);
  const egress = configuration.CONTRAST_MAX_EGRESS_CONNECTIONS ?? atMost(share / Math.max(1, egressRules));
  return {
    ingress: { total, perPeer },
    egress: { total: egress, perPeer: egress },
    // Whoever has a connection may wait.
    handshakes: {
      ...handshakeLimits(configuration, parts.handshakes / footprint.handshake),
      waiting: { total, perPeer },
    },
    heldBytes: budgetLimits(Math.floor(parts.heldBytes)),
    handshakeMs: configuration.CONTRAST_HANDSHAKE_TIMEOUT,
  };
}

/** @param most for which there is memory */
function handshakeLimits(configuration: LimitConfiguration, most: number): SemaphoreLimits {
  const total = configuration.CONTRAST_MAX_HANDSHAKES ?? Math.max(1, Math.min(MOST_HANDSHAKES, Math.floor(most)));
  return { total, perPeer: configuration.CONTRAST_MAX_HANDSHAKES_PER_SOURCE ?? partOfSource(total) };
}

function partOfSource(total: number): number {
  return Math.max(1, Math.floor(total / SOURCES));
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
