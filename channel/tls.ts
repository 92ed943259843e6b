import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { issueLeaf } from "../pki/certificate.ts";
import { type KeyPair, privateKeyPem, spkiDigest } from "../pki/keys.ts";
import { ChannelError } from "./error.ts";

/** The TLS layer of the attested channel: TLS 1.3 only, self-signed certificates that carry no meaning but their key. */

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
  readonly keyDigest: Buffer;
}

/**
 * A certificate that says nothing but its key, ECDSA or RSA. Nobody checks its dates; they are wide so that nobody has
 * to.
 */
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

/** What both ends know of one connection and nobody knows of another. */
export interface Binding {
  /** RFC 8446 §7.5, 64 bytes. */
  readonly exporter: Buffer;
  /** SHA-256 of the SubjectPublicKeyInfo of this side and of the other. */
  readonly ownKey: Buffer;
  readonly peerKey: Buffer;
  readonly peerPublicKey: KeyObject;
}

/**
 * Reads the binding of a connection whose handshake is complete.
 *
 * @param own the identity that this side showed in it
 * @throws ChannelError `tls_handshake` where the peer showed no certificate or did not agree on the protocol
 */
export function bindingOf(socket: TLSSocket, own: TlsIdentity): Binding {
  const peer = socket.getPeerX509Certificate()?.publicKey;
  if (peer === undefined) {
    throw new ChannelError("tls_handshake", "the peer showed no certificate", { want: "a self-signed one" });
  }
  if (socket.alpnProtocol !== ALPN) {
    throw new ChannelError("tls_handshake", "the peer speaks another protocol", {
      where: "ALPN",
      got: String(socket.alpnProtocol),
      want: ALPN,
    });
  }
  return {
    exporter: socket.exportKeyingMaterial(EXPORTER_LENGTH, EXPORTER_LABEL, Buffer.alloc(0)),
    ownKey: own.keyDigest,
    peerKey: spkiDigest(peer),
    peerPublicKey: peer,
  };
}

/** Completes a TLS handshake as the client over a connected socket. */
export async function startTls(socket: Socket, identity: TlsIdentity, deadline: AbortSignal): Promise<TLSSocket> {
  const tls = connect({
    socket,
    key: identity.key,
    cert: identity.cert,
    ALPNProtocols: [ALPN],
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    // The certificate is self-signed by design. What it is worth is decided by the evidence that binds its key.
    rejectUnauthorized: false,
  });
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
