import { CodedError } from "../runtime/errors.ts";

/**
 * Why the mesh proxy did not start, or why it refused or lost a connection. The codes stand in the log.
 *
 * - `certificates`: it does not start, or goes on with the certificates it had. Fix the TLS configuration folder.
 * - `listen`: it does not start. Free the port.
 * - `engine`: it does not start, because the native engine is to serve and can't be loaded. Build it, or choose the other one.
 * - `net_admin_missing`, `set_up`: transparent ingress could not be set up; its ports stay closed. Do what the hint says.
 * - `node`: it does not start, because the engine `streams` can't ask the kernel about connections. Use the Node that the images
 *   have, and koffi.
 * - `not_redirected`: somebody connected to the proxy's own ports. Connect to the application's.
 * - `client_certificate_missing`, `client_certificate_untrusted`: an ingress peer did not prove that it belongs to the
 *   mesh. The peer has to go through its own mesh proxy, or to be issued a certificate again.
 * - `client_identity`: a workload of the mesh that may not connect to this port. Name it in CONTRAST_INGRESS_ALLOW, or not.
 * - `handshake_too_large`: a peer sent more than a handshake of the mesh takes. Its chain of certificates is too long.
 * - `tls_handshake`, `handshake_timeout`: the peer does not speak the TLS of the mesh, or stopped speaking.
 * - `upstream_refused`, `upstream_timeout`: nothing answered where the connection had to go. Is it running?
 * - `upstream_untrusted`, `upstream_identity`: something answered that is not in the mesh, or is not the pinned workload.
 * - `too_many_connections`, `too_many_connections_of_source`, `too_many_handshakes`: a limit was reached, of all or of the
 *   client's address. Raise it if so many are meant to be.
 * - `too_many_bytes_waiting`: a connection was reset because it held most of what waits for the peers of its source, which
 *   read too slowly.
 * - `client_gone`: the client left without a word, as a TCP probe does, or before its connection was made. Nothing to do.
 * - `tls_alert`: the TLS peer of an established connection refused it; most often it does not accept the certificate.
 * - `connection_broken`: a peer of an established connection reset it. Nothing to do here.
 */
export type MeshProxyCode =
  | "certificates"
  | "listen"
  | "engine"
  | "net_admin_missing"
  | "set_up"
  | "node"
  | "not_redirected"
  | "client_certificate_missing"
  | "client_certificate_untrusted"
  | "client_identity"
  | "handshake_too_large"
  | "tls_handshake"
  | "handshake_timeout"
  | "upstream_refused"
  | "upstream_timeout"
  | "upstream_untrusted"
  | "upstream_identity"
  | "too_many_connections"
  | "too_many_connections_of_source"
  | "too_many_handshakes"
  | "too_many_bytes_waiting"
  | "client_gone"
  | "tls_alert"
  | "connection_broken";

export class MeshProxyError extends CodedError<MeshProxyCode> {}

/** The code of an error of Node, such as ECONNREFUSED; its message where it has none. */
export function reason(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
