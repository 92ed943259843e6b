import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { issueLeaf } from "../pki/certificate.ts";
import { type KeyPair, privateKeyPem, spkiDigest } from "../pki/keys.ts";
import { ChannelError } from "./error.ts";

/**
 * The TLS layer of the attested channel: TLS 1.3 only. The server's certificate is self-signed and carries no meaning but
 * its key; the client shows none (channel/client-key.ts).
 */

/** The protocol inside (RFC 7301): a client of anything else is refused by an alert and not by its own garbage. */
export const ALPN = "contrast-attestation-v1";

const EXPORTER_LABEL = "EXPORTER-contrast-attestation-v1";
const EXPORTER_LENGTH = 64;
const DAY = 24 * 3600 * 1000;

export interface TlsIdentity {
  /** PEM, as node:tls takes it. */
  readonly key: string;
  readonly cert: string;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyDigest: Uint8Array;
}

/** A certificate that says nothing but its key. Nobody checks its dates; they are wide so that nobody has to. */
export async function selfSigned(keys: KeyPair, now: Date): Promise<TlsIdentity> {
  const subject = "contrast";
  const cert = issueLeaf({
    subject,
    publicKey: keys.publicKey,
    issuer: { name: subject, key: keys },
    notBefore: new Date(now.getTime() - 365 * DAY),
    notAfter: new Date(now.getTime() + 3650 * DAY),
    names: [],
  });
  return { key: privateKeyPem(keys.privateKey), cert, keyDigest: spkiDigest(keys.publicKey) };
}

/**
 * What both ends know of one connection and nobody knows of another: RFC 8446 §7.5, 64 bytes. The server's certificate is
 * part of what it is made from.
 *
 * @param socket its handshake is complete
 * @throws ChannelError `tls_handshake` where the peer did not agree on the protocol
 */
export function exporterOf(socket: TLSSocket): Buffer {
  if (socket.alpnProtocol !== ALPN) {
    throw new ChannelError("tls_handshake", "the peer speaks another protocol", {
      where: "ALPN",
      got: String(socket.alpnProtocol),
      want: ALPN,
    });
  }
  return socket.exportKeyingMaterial(EXPORTER_LENGTH, EXPORTER_LABEL, Buffer.alloc(0));
}

/** @throws ChannelError `tls_handshake` where the server showed no certificate */
export function serverKeyOf(socket: TLSSocket): KeyObject {
  const key = socket.getPeerX509Certificate()?.publicKey;
  if (key !== undefined) return key;
  throw new ChannelError("tls_handshake", "the server showed no certificate", { want: "a self-signed one" });
}

/** Completes a TLS handshake as the client over a connected socket. Errors that come later end the connection, no more. */
export async function startTls(socket: Socket, deadline: AbortSignal): Promise<TLSSocket> {
  const tls = connect({
    socket,
    ALPNProtocols: [ALPN],
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    // The certificate is self-signed by design. What it is worth is decided by the evidence that binds its key.
    rejectUnauthorized: false,
  });
  // Now, because what follows the handshake in the same piece may be an error already when this function returns.
  tls.on("error", () => undefined);
  const where = `${socket.remoteAddress ?? "?"} port ${socket.remotePort ?? "?"}`;
  try {
    await once(tls, "secureConnect", { signal: deadline });
    return tls;
  } catch (cause) {
    tls.destroy();
    if (deadline.aborted) throw new ChannelError("timeout", "the peer did not finish the TLS handshake", { cause });
    throw new ChannelError("tls_handshake", "no TLS 1.3 connection with the attested channel's protocol", {
      where,
      got: (cause as NodeJS.ErrnoException).code ?? String(cause),
      want: ALPN,
      hint: "check that the address is a Coordinator's",
      cause,
    });
  }
}

/** Address and port, for people to read and to find a connection by. It says nothing about who the peer is. */
export function peerAddress(socket: { remoteAddress?: string | undefined; remotePort?: number | undefined }): string {
  return `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
}
