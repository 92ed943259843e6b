import { X509Certificate } from "node:crypto";
import { MeshProxyError } from "../faults.ts";
import { planFor, type RoutePlan } from "../plan.ts";
import type { Limits } from "../limits/limits.ts";
import type { FaultEvent } from "./addon.ts";

/** What the engine's codes are in words. */

type Texts = Readonly<{ message: string; where?: string; want?: string; hint?: string }>;

/** @param port that the client connected to */
export function errorOf(event: FaultEvent, plan: RoutePlan, port: number, limits: Limits): MeshProxyError {
  const { code, got, certificate } = event;
  const { message, ...texts } = textsOf(code, plan, port, limits);
  const found = certificate === undefined ? got : (new X509Certificate(certificate).subjectAltName ?? "no name");
  const where = event.local !== undefined && code === "not_redirected" ? { where: event.local } : {};
  return new MeshProxyError(isKnown(code) ? code : "connection_broken", message, {
    ...texts,
    ...where,
    ...(found === undefined ? {} : { got: found }),
  });
}

const MEMBERS = "only workloads of the mesh may connect, with the certificate that the Coordinator issued to them";

function textsOf(code: string, plan: RoutePlan, port: number, limits: Limits): Texts {
  const isEgress = plan.direction === "egress";
  const upstream = isEgress ? { where: plan.to } : {};
  const variable = `CONTRAST_MAX_${plan.direction.toUpperCase()}_CONNECTIONS`;
  const { total, perPeer } = limits[plan.direction];
  switch (code) {
    case "not_redirected":
      return {
        message: "the connection was not for the application",
        want: "a connection from outside the pod to an address of the pod",
        hint: "connect to the application's port; the proxy's own ports are not to be called",
      };
    case "client_certificate_missing":
      return { message: "the client showed no certificate", hint: MEMBERS };
    case "client_certificate_untrusted":
      return {
        message: "the client's certificate is not valid in the mesh",
        want: "a chain that ends in the mesh CA, valid now, for client authentication",
        hint: MEMBERS,
      };
    case "client_identity":
      return {
        message: "the client is another workload than those that may connect",
        where: `port ${port}`,
        want: planFor(plan, port).allowed?.join(" or ") ?? "",
        hint: "name it in CONTRAST_INGRESS_ALLOW if it may connect",
      };
    case "handshake_too_large":
      return {
        message: "the peer sends more than a handshake takes",
        want: "at most 12288 bytes",
        hint: "its chain of certificates is too long: one of the mesh has two",
      };
    case "tls_handshake":
      return isEgress
        ? {
            message: "the TLS handshake with the upstream failed",
            ...upstream,
            hint: "the upstream must speak TLS on that port, 1.3 unless CONTRAST_TLS_MIN=1.2: does its own mesh proxy serve it?",
          }
        : { message: "the TLS handshake failed" };
    case "handshake_timeout":
      return {
        message: isEgress
          ? "no TLS handshake with the upstream in time"
          : `no TLS handshake within ${limits.handshakeMs} ms`,
        ...upstream,
      };
    case "upstream_refused":
      return {
        message: "can't connect to the upstream",
        where: plan.to,
        hint: "does it listen there, and does its name resolve to it?",
      };
    case "upstream_timeout":
      return { message: "the upstream does not answer", where: plan.to };
    case "upstream_untrusted":
      return {
        message: "the upstream's certificate is not valid in the mesh",
        ...upstream,
        want: "a chain that ends in the mesh CA, valid now, for server authentication",
        hint: "is it a workload of the same deployment, with the certificate of its Initializer?",
      };
    case "upstream_identity":
      return {
        message: "the upstream is another workload than the rule names",
        ...upstream,
        want: plan.egress?.san ?? "",
        hint: "is the upstream's address right, and does the manifest give that name to its policy?",
      };
    case "too_many_connections":
      return {
        message: "too many connections are open",
        want: `at most ${total}`,
        hint: `if so many are meant to be, raise ${variable}`,
      };
    case "too_many_connections_of_source":
      return {
        message: "too many connections of this address are open",
        want: `at most ${perPeer}`,
        hint: `if so many are meant to be, raise ${variable}_PER_SOURCE`,
      };
    case "too_many_handshakes":
      return {
        message: "too many TLS handshakes are under way",
        hint: "if so many are meant to be, raise CONTRAST_MAX_HANDSHAKES or CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
      };
    case "too_many_bytes_waiting":
      return {
        message: "more waits for peers to take it than may",
        hint: "they read too slowly, or too many do; CONTRAST_MEMORY_LIMIT and the container's limit of memory decide",
      };
    case "client_gone":
      return { message: "the client closed the connection before it was made" };
    case "tls_alert":
    case "connection_broken":
      return { message: "a connection broke" };
    default:
      return { message: "an internal error of the engine ended a connection" };
  }
}

export const CODES = [
  "not_redirected",
  "client_certificate_missing",
  "client_certificate_untrusted",
  "client_identity",
  "handshake_too_large",
  "tls_handshake",
  "handshake_timeout",
  "upstream_refused",
  "upstream_timeout",
  "upstream_untrusted",
  "upstream_identity",
  "too_many_connections",
  "too_many_connections_of_source",
  "too_many_handshakes",
  "too_many_bytes_waiting",
  "client_gone",
  "tls_alert",
  "connection_broken",
] as const;

function isKnown(code: string): code is (typeof CODES)[number] {
  return CODES.some((known) => known === code);
}
