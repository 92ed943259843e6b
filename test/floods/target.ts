import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { startExchange } from "../../channel/exchange.ts";
import { startTls } from "../../channel/tls.ts";
import { generateEcKey } from "../../pki/keys.ts";

/** The Coordinator as those see it who attack it, from any address of loopback. */

export const PORTS = { user: 1313, attest: 1314, mesh: 7777, transit: 8200, probes: 9102 } as const;

export const keys = await generateEcKey("P-256");

/** A connection that says nothing; undefined where it is refused. */
export async function open(host: string, port: number, localAddress: string): Promise<Socket | undefined> {
  const socket = connect({ host, port, localAddress, noDelay: true });
  socket.on("error", () => undefined);
  const isOpen = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  return isOpen ? socket : undefined;
}

/** A connection whose handshake is complete; undefined where it is refused. */
export async function openTls(host: string, port: number, localAddress: string): Promise<TLSSocket | undefined> {
  const socket = await open(host, port, localAddress);
  if (socket === undefined) return undefined;
  const tls = await startTls(socket, AbortSignal.timeout(10_000)).catch(() => undefined);
  tls?.on("error", () => undefined);
  return tls;
}

/** A connection of a stranger that was accepted: what comes next is HTTP/2. */
export async function openChannel(host: string, localAddress: string): Promise<TLSSocket | undefined> {
  const tls = await openTls(host, PORTS.user, localAddress);
  if (tls === undefined) return undefined;
  const isAccepted = await startExchange(tls, keys, {}).then(
    () => true,
    () => false,
  );
  if (isAccepted) return tls;
  tls.destroy();
  return undefined;
}

export async function openSession(host: string, localAddress: string): Promise<ClientHttp2Session | undefined> {
  const channel = await openChannel(host, localAddress);
  if (channel === undefined) return undefined;
  const session = connectHttp2("http://coordinator", { createConnection: () => channel });
  session.on("error", () => undefined);
  return session;
}

export function call(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

/** A message of gRPC: whether it is compressed, its length, and what there is of it. */
export function message(bytes: Buffer, { length = bytes.length, isCompressed = false } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(Number(isCompressed));
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}
