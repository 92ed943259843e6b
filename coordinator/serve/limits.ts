import { type ChannelLimits, CONNECTION_BYTES, WAITING_BYTES } from "../../channel/limits.ts";
import { MAX_MESSAGE } from "../../channel/framing.ts";
import { type BudgetLimits, budgetLimits } from "../../runtime/budget.ts";
import type { SemaphoreLimits } from "../../runtime/keyed-semaphore.ts";
import { ANSWER_BYTES, type AttestLimits, LARGE_BYTES, VISITOR_BYTES } from "../attest/limits.ts";
import { type TransitLimits, TRANSIT_BYTES } from "../transit/limits.ts";
import type { ProbeLimits } from "./probe-port.ts";

/**
 * How much of the Coordinator its peers may use: everything is a part of the memory that it may have. Of each part no
 * source has more than a quarter, so that others are served whatever it does. Behind a load balancer that translates
 * addresses, all workloads of a cluster are one source: a thousand Initializers at once must get through, by waiting and
 * by trying again.
 */
export interface CoordinatorLimits {
  readonly user: ChannelLimits;
  readonly mesh: ChannelLimits;
  readonly transit: TransitLimits;
  readonly attest: AttestLimits;
  readonly probes: ProbeLimits;
  /** Large requests: manifests with their policies. */
  readonly requests: BudgetLimits;
  /** How long the history may be that everybody can read, in bytes. It is kept once, for all readers. */
  readonly historyBytes: number;
  /** Who may use the processor, one at a time. */
  readonly turns: SemaphoreLimits;
}

/**
 * What the process needs itself, in bytes: 60 MiB before the first connection, and what waits for the collectors of V8 and
 * of the allocator.
 */
const OWN_BYTES = 96 * 2 ** 20;

/** With less there is no room for people and workloads at once. */
export const LEAST_BYTES = OWN_BYTES + 32 * 2 ** 20;

/** One event loop can't serve more peers than fit into this, and each takes a descriptor. */
const MOST_BYTES = 2 ** 30;

/** In sixteenths of what is left. */
const PARTS = {
  requests: 4,
  history: 2,
  meshPlaces: 2.5,
  meshWaiting: 0.75,
  userPlaces: 1.5,
  userWaiting: 0.75,
  reserved: 1,
  probes: 0.5,
  transitPlaces: 1,
  transitWaiting: 0.25,
  attestConnections: 0.75,
  attestAnswers: 0.25,
  attestLarge: 0.5,
  attestHistory: 0.25,
} as const;

const TIMES = { handshakeMs: 10_000, requestMs: 10_000, idleMs: 30_000, ageMs: 5 * 60_000, patienceMs: 300 } as const;

/** Two keys' worth: a hello for the user API has no evidence. */
const USER_HELLO_BYTES = 4096;

/** A policy is 40 to 70 kB, and this is for 200 pods. */
const MAX_REQUEST_BYTES = 16 * 2 ** 20;

/** @param limit what the process may use, in bytes */
export function coordinatorLimits(limit: number): CoordinatorLimits {
  const sixteenth = Math.floor((Math.min(Math.max(limit, LEAST_BYTES), MOST_BYTES) - OWN_BYTES) / 16);
  const places = (which: keyof typeof PARTS, bytes: number): SemaphoreLimits => {
    const { total, perSource } = budgetLimits(Math.floor((PARTS[which] * sixteenth) / bytes));
    return { total, perPeer: perSource };
  };
  const api = (placesPart: keyof typeof PARTS, waitingPart: keyof typeof PARTS, helloBytes: number): ChannelLimits => {
    const inside = places(placesPart, CONNECTION_BYTES);
    return {
      ...TIMES,
      helloBytes,
      ...withWaiting(inside, places(waitingPart, WAITING_BYTES)),
      reserved: places("reserved", CONNECTION_BYTES),
      // Only evidence that waits for a vendor stays for longer than a few milliseconds.
      appraisals: inside,
    };
  };
  const requests = budgetLimits(PARTS.requests * sixteenth);
  const mesh = api("meshPlaces", "meshWaiting", MAX_MESSAGE);
  const user = api("userPlaces", "userWaiting", USER_HELLO_BYTES);
  const transitPlaces = places("transitPlaces", TRANSIT_BYTES);
  const { handshakeMs, requestMs, idleMs, patienceMs } = TIMES;
  const transit: TransitLimits = {
    handshakeMs,
    requestMs,
    idleMs,
    patienceMs,
    ...withWaiting(transitPlaces, places("transitWaiting", WAITING_BYTES)),
    workloads: transitPlaces,
  };
  const attest = attestLimits(sixteenth);
  const ports = [mesh, user, transit, attest].map(({ connections }) => connections.total);
  const all = ports.reduce((sum, total) => sum + total, user.reserved.total);
  return {
    user,
    mesh,
    transit,
    attest,
    probes: { connections: places("probes", PROBE_BYTES).total, requestMs: 10_000, idleMs: 30_000, ageMs: 10 * 60_000 },
    requests: { ...requests, perSource: Math.min(requests.perSource, MAX_REQUEST_BYTES) },
    historyBytes: PARTS.history * sixteenth,
    // Who waits here has a place.
    turns: { total: 1, perPeer: 1, waiting: { total: all, perPeer: all } },
  };
}

function attestLimits(sixteenth: number): AttestLimits {
  const many = (which: keyof typeof PARTS, bytes: number): { readonly total: number; readonly perPeer: number } => {
    const { total, perSource } = budgetLimits(Math.floor((PARTS[which] * sixteenth) / bytes));
    return { total, perPeer: Math.max(1, perSource) };
  };
  const connections = many("attestConnections", VISITOR_BYTES);
  const large = PARTS.attestLarge * sixteenth;
  const { total, perPeer } = many("attestLarge", LARGE_BYTES);
  const { requestMs, idleMs, patienceMs } = TIMES;
  return {
    connections,
    // Who waits has a connection.
    answers: { ...many("attestAnswers", ANSWER_BYTES), waiting: connections },
    large: { total: Math.max(1, total), perPeer, waiting: connections },
    mostBytes: large < LARGE_BYTES ? large : Infinity,
    historyBytes: PARTS.attestHistory * sixteenth,
    requestMs,
    evidenceMs: 2 * requestMs,
    idleMs,
    patienceMs,
  };
}

/** Those that have a place, and those that wait for one. */
function withWaiting(inside: SemaphoreLimits, waiting: SemaphoreLimits) {
  const { total, perPeer } = waiting;
  return {
    connections: { total: total + inside.total, perPeer: perPeer + inside.perPeer },
    places: { ...inside, waiting: { total, perPeer } },
  };
}

/** A connection to the probe port, with the metrics that its peer does not read. */
const PROBE_BYTES = 192 * 1024;
