import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { socketOctets } from "../../bytes/ip-address.ts";
import { ConnectionFault } from "./fault.ts";

/**
 * The PROXY protocol, version 2 (haproxy, doc/proxy-protocol.txt): what an application behind a proxy is told about a
 * connection before its first byte. Where the client came from, where it went, and who it is.
 */

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const VERSION_2_PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

const TYPE = {
  alpn: 0x01,
  authority: 0x02,
  ssl: 0x20,
  sslVersion: 0x21,
  sslCn: 0x22,
  sslCipher: 0x23,
  /** The client's certificate, DER: its names are in there. */
  sslClientCert: 0x28,
} as const;

/** The bits of `client`: over TLS, a certificate shown on this connection, a certificate shown in this session. */
const CLIENT = { ssl: 0x01, certConn: 0x02, certSess: 0x04 } as const;

/**
 * @param tls undefined where the connection is passed through
 * @throws ConnectionFault `client_gone`
 */
export function proxyHeader(transport: Socket, tls: TLSSocket | undefined): Uint8Array {
  const [family, addresses] = addressBlock(transport);
  const body = Buffer.concat([addresses, ...(tls === undefined ? [] : tlsValues(tls))]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(body.length);
  return Buffer.concat([SIGNATURE, Buffer.from([VERSION_2_PROXY, family]), length, body]);
}

/** §2.2: source address, destination address, source port, destination port. */
function addressBlock(transport: Socket): [family: number, block: Uint8Array] {
  const source = octets(transport.remoteAddress);
  const destination = octets(transport.localAddress);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(transport.remotePort ?? 0, 0);
  ports.writeUInt16BE(transport.localPort ?? 0, 2);
  return [source.length === 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, Buffer.concat([source, destination, ports])];
}

function octets(address: string | undefined): Uint8Array {
  if (address === undefined) throw new ConnectionFault("client_gone");
  return socketOctets(address);
}

/** §2.2.1 to §2.2.5. */
function tlsValues(tls: TLSSocket): Uint8Array[] {
  const certificate = tls.getPeerX509Certificate();
  const shown = certificate === undefined ? 0 : CLIENT.certSess | (tls.isSessionReused() ? 0 : CLIENT.certConn);
  // "zero if the client presented a certificate and it was successfully verified, and non-zero otherwise"
  const head = Buffer.from([CLIENT.ssl | shown, 0, 0, 0, certificate === undefined ? 1 : 0]);
  const common = /^CN=(.*)$/m.exec(certificate?.subject ?? "")?.[1];
  const values = [
    head,
    value(TYPE.sslVersion, tls.getProtocol() ?? ""),
    value(TYPE.sslCipher, tls.getCipher().name),
    ...(common === undefined ? [] : [value(TYPE.sslCn, common)]),
    ...(certificate === undefined ? [] : [value(TYPE.sslClientCert, certificate.raw)]),
  ];
  const { alpnProtocol, servername } = tls;
  return [
    ...(typeof alpnProtocol === "string" ? [value(TYPE.alpn, alpnProtocol)] : []),
    ...(typeof servername === "string" ? [value(TYPE.authority, servername)] : []),
    value(TYPE.ssl, Buffer.concat(values)),
  ];
}

function value(type: number, content: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(content);
  const head = Buffer.from([type, 0, 0]);
  head.writeUInt16BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
