import { constants } from "node:crypto";
import { type SecureContextOptions, type TLSSocket } from "node:tls";
import { MalformedBytes } from "../../../bytes/cursor.ts";
import { readDer, TAG } from "../../../pki/der.ts";
import type { Credentials } from "../../credentials/credentials.ts";

/** What both sides of TLS in the mesh have in common: versions, groups and cipher suites. */

export type TlsVersion = "1.2" | "1.3";

/**
 * RFC 8446 §4.2.7, in OpenSSL's notation: a slash ends what is preferred to all that follows, even where that costs a
 * round trip (SSL_CTX_set1_groups_list(3)). The first one stays secret also from who records now and has a quantum
 * computer later.
 */
const GROUPS = "X25519MLKEM768/X25519:P-256";

/** Those of TLS 1.3, then for 1.2 only such with forward secrecy and an AEAD; the mesh has no keys but of ECDSA. */
const CIPHERS = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
].join(":");

export function tlsSettings({ certChain, key, meshCa }: Credentials, oldest: TlsVersion): SecureContextOptions {
  return {
    cert: certChain,
    key: key.reveal(),
    ca: meshCa,
    minVersion: `TLSv${oldest}`,
    ecdhCurve: GROUPS,
    ciphers: CIPHERS,
    // Of TLS 1.2. What the proxy knows of a peer, it knows from one handshake.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/**
 * Whether a connection that a server accepted has the extended master secret (RFC 7627), which TLS 1.3 always has. Without
 * it somebody in the middle can give two connections of TLS 1.2 the same session, and so pass on one peer's identity as
 * another's. OpenSSL offers it, and goes on without.
 */
export function isBoundToHandshake(socket: TLSSocket): boolean {
  if (socket.getProtocol() !== "TLSv1.2") return true;
  const session = socket.getSession();
  return session !== undefined && hasExtendedMasterSecret(session);
}

/** SSL_SESSION_ASN1 of OpenSSL (ssl/ssl_asn1.c): the flags are [13] EXPLICIT, and absent where there are none. */
const FLAGS = TAG.context(13);
const SSL_SESS_FLAG_EXTMS = 0x1;

function hasExtendedMasterSecret(session: Buffer): boolean {
  try {
    return readDer(session, "session", (der) =>
      der.sequence("session", (fields) => {
        let flags = 0;
        while (fields.next !== undefined) {
          if (fields.next === FLAGS) flags = fields.nested(FLAGS, "flags", (inner) => inner.byte("flags"));
          else fields.element(fields.next, "field");
        }
        return (flags & SSL_SESS_FLAG_EXTMS) !== 0;
      }),
    );
  } catch (error) {
    if (error instanceof MalformedBytes) return false;
    throw error;
  }
}
