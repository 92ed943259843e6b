import { type MeshProxyCode, MeshProxyError } from "./faults.ts";
import type { Limits } from "./limits/limits.ts";
import { DEADLINE_MS, MOST_HANDSHAKE_BYTES } from "./limits/numbers.ts";
import { planFor, type RoutePlan } from "./plan.ts";

/** What the codes of connections are in words, whichever engine says them. */

export type ConnectionCode = Exclude<
  MeshProxyCode,
  "certificates" | "listen" | "engine" | "net_admin_missing" | "set_up" | "node"
>;

/** What an engine says of a connection that it refused, or that broke. */
export interface ConnectionFact {
  readonly code: ConnectionCode;
  /** What was there: a code of the system or of TLS, or the names of the peer. */
  readonly got?: string | undefined;
}

/** Which connection it was. */
export interface Whereabouts {
  readonly plan: RoutePlan;
  /** Address and port that the client connected to. */
  readonly local: string;
  /** The port alone. */
  readonly port: number;
  readonly limits: Limits;
}

export function errorOf({ code, got }: ConnectionFact, whereabouts: Whereabouts): MeshProxyError {
  const { message, ...details } = WORDS[code](whereabouts);
  return new MeshProxyError(code, message, { ...details, ...(got === undefined ? {} : { got }) });
}

export function isConnectionCode(code: string): code is ConnectionCode {
  return CONNECTION_CODES.includes(code);
}

type Words = Readonly<{ message: string; where?: string; got?: string; want?: string; hint?: string }>;

const MEMBERS = "only workloads of the mesh may connect, with the certificate that the Coordinator issued to them";

const WORDS: Readonly<Record<ConnectionCode, (whereabouts: Whereabouts) => Words>> = {
  not_redirected: ({ local }) => ({
    message: "the connection was not for the application",
    where: local,
    want: "a connection from outside the pod to an address of the pod",
    hint: "connect to the application's port; the proxy's own ports are not to be called",
  }),
  client_certificate_missing: () => ({ message: "the client showed no certificate", hint: MEMBERS }),
  client_certificate_untrusted: () => ({
    message: "the client's certificate is not valid in the mesh",
    want: "a chain that ends in the mesh CA, valid now, for client authentication",
    hint: MEMBERS,
  }),
  client_identity: ({ plan, port }) => ({
    message: "the client is another workload than those that may connect",
    where: `port ${port}`,
    want: planFor(plan, port).allowed?.join(" or ") ?? "",
    hint: "name it in CONTRAST_INGRESS_ALLOW if it may connect",
  }),
  handshake_too_large: () => ({
    message: "the peer sends more than a handshake takes",
    want: `at most ${MOST_HANDSHAKE_BYTES} bytes`,
    hint: "its chain of certificates is too long: one of the mesh has two",
  }),
  tls_handshake: ({ plan }) =>
    plan.direction === "ingress"
      ? { message: "the TLS handshake failed" }
      : {
          message: "the TLS handshake with the upstream failed",
          where: plan.to,
          hint: "the upstream must speak TLS on that port, 1.3 unless CONTRAST_TLS_MIN=1.2: does its own mesh proxy serve it?",
        },
  handshake_timeout: ({ plan, limits }) =>
    plan.direction === "ingress"
      ? { message: `no TLS handshake within ${limits.handshakeMs} ms` }
      : { message: `no TLS handshake with the upstream within ${DEADLINE_MS} ms`, where: plan.to },
  upstream_refused: ({ plan }) => ({
    message: "can't connect to the upstream",
    where: plan.to,
    hint: "does it listen there, and does its name resolve to it?",
  }),
  upstream_timeout: ({ plan }) => ({
    message: "the upstream does not answer",
    where: plan.to,
    got: `nothing for ${DEADLINE_MS} ms`,
  }),
  upstream_untrusted: ({ plan }) => ({
    message: "the upstream's certificate is not valid in the mesh",
    where: plan.to,
    want: "a chain that ends in the mesh CA, valid now, for server authentication",
    hint: "is it a workload of the same deployment, with the certificate of its Initializer?",
  }),
  upstream_identity: ({ plan }) => ({
    message: "the upstream is another workload than the rule names",
    where: plan.to,
    want: plan.egress?.san ?? "",
    hint: "is the upstream's address right, and does the manifest give that name to its policy?",
  }),
  too_many_connections: ({ plan, limits }) => ({
    message: "too many connections are open",
    want: `at most ${limits[plan.direction].total}`,
    hint: `if so many are meant to be, raise ${variableOf(plan)}`,
  }),
  too_many_connections_of_source: ({ plan, limits }) => ({
    message: "too many connections of this address are open",
    want: `at most ${limits[plan.direction].perPeer}`,
    hint: `if so many are meant to be, raise ${variableOf(plan)}_PER_SOURCE`,
  }),
  too_many_handshakes: () => ({
    message: "too many TLS handshakes are under way",
    hint: "if so many are meant to be, raise CONTRAST_MAX_HANDSHAKES or CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
  }),
  too_many_bytes_waiting: () => ({
    message: "more waits for peers to take it than may",
    hint: "they read too slowly, or too many do; CONTRAST_MEMORY_LIMIT and the container's limit of memory decide",
  }),
  client_gone: () => ({ message: "the client closed the connection before it was made" }),
  tls_alert: () => ({ message: "a peer refused the connection after its handshake" }),
  connection_broken: () => ({ message: "a connection broke" }),
};

export const CONNECTION_CODES: readonly string[] = Object.keys(WORDS);

function variableOf({ direction }: RoutePlan): string {
  return `CONTRAST_MAX_${direction.toUpperCase()}_CONNECTIONS`;
}
