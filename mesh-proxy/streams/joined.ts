import { type CipherNameAndProtocol, TLSSocket } from "node:tls";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { Joined, TlsFacts } from "../observe/access-log.ts";
import type { Legs } from "./leg.ts";

/** What the access log says of two legs. TLS that has ended can't say any more what it was. */
export function describe({ downstream, upstream, upstreamCertificate }: Legs): Joined {
  const { remoteAddress: host = "?", remotePort: port = 0 } = upstream.transport;
  const address = formatEndpoint({ host, port });
  const stream = [downstream.stream, upstream.stream].find((stream) => stream instanceof TLSSocket);
  if (stream === undefined) return { upstream: address, names: [], tls: null };
  const certificate = upstreamCertificate ?? stream.getPeerX509Certificate();
  // Node escapes commas inside a name: none can pose as two.
  return { upstream: address, names: certificate?.subjectAltName?.split(", ") ?? [], tls: tlsFacts(stream) };
}

function tlsFacts(stream: TLSSocket): TlsFacts {
  const group = stream.getEphemeralKeyInfo();
  // Node's types leave out that a socket whose peer has just gone has none.
  const cipher = stream.getCipher() as CipherNameAndProtocol | null;
  return {
    version: stream.getProtocol(),
    cipher: cipher?.standardName ?? null,
    ...(group !== null && "name" in group && group.name !== undefined ? { group: group.name } : {}),
    resumed: stream.isSessionReused(),
  };
}
