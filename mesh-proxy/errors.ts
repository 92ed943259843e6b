import { CodedError } from "../runtime/errors.ts";

/**
 * Why the mesh proxy did not start, or why it refused or lost a connection. The codes stand in the log.
 *
 * - `certificates`, `listen`: it does not start. Fix the TLS configuration folder, or free the port.
 * - `client_certificate_missing`, `client_certificate_untrusted`: an ingress peer did not prove that it belongs to the
 *   mesh. The peer has to go through its own mesh proxy, or to be issued a certificate again.
 * - `tls_handshake`, `handshake_timeout`: the peer does not speak TLS 1.3, or stopped speaking.
 * - `upstream_refused`, `upstream_timeout`: nothing answered where the connection had to go. Is it running?
 * - `upstream_untrusted`, `upstream_identity`: something answered that is not in the mesh, or is not the pinned workload.
 * - `client_gone`: the client went away before its connection was made. Nothing to do.
 * - `tls_alert`: the TLS peer of an established connection refused it; most often it does not accept the certificate.
 * - `connection_broken`: a peer of an established connection reset it. Nothing to do here.
 */
export type MeshProxyCode =
  | "certificates"
  | "listen"
  | "client_certificate_missing"
  | "client_certificate_untrusted"
  | "tls_handshake"
  | "handshake_timeout"
  | "upstream_refused"
  | "upstream_timeout"
  | "upstream_untrusted"
  | "upstream_identity"
  | "client_gone"
  | "tls_alert"
  | "connection_broken";

export class MeshProxyError extends CodedError<MeshProxyCode> {}

/** The code of an error of Node, such as ECONNREFUSED; its message where it has none. */
export function reason(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
