import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { loadDuplicate } from "../../limits/descriptors.ts";
import { MeshProxyError } from "../../faults.ts";
import { ignore } from "../leg.ts";
import { FairTurns } from "./fair-turns.ts";
import { Intake, MOST_BYTES, type Reading } from "./wire.ts";
import { ServerSide } from "./server-side.ts";

/**
 * @param clock milliseconds since whenever; never goes back
 * @throws MeshProxyError `node` where handshakes can't be limited as intake.ts promises: then nobody is served
 */
export async function openReading(clock: () => number): Promise<Reading> {
  try {
    const duplicate = await loadDuplicate();
    const reading = { duplicate, turns: new FairTurns({ clock }), buffer: Buffer.allocUnsafeSlow(MOST_BYTES) };
    await prove(reading);
    return reading;
  } catch (cause) {
    throw new MeshProxyError("node", "this Node can't be kept from reading a handshake as fast as it comes", {
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "use the Node of the images, with the native module koffi",
      cause,
    });
  }
}

/** How long the trial may take; it needs a few milliseconds. */
const TRIAL_MS = 5_000;

/**
 * A connection within this process, with an intake on both sides: the handshake is done, neither side has read a byte of it
 * by itself, and what follows it arrives.
 */
async function prove(reading: Reading): Promise<void> {
  const signal = AbortSignal.timeout(TRIAL_MS);
  // An abstract Unix socket: no file, no port, no rule of a firewall.
  const path = `\0contrast-mesh-proxy-${randomUUID()}`;
  const psk = randomBytes(32);
  const common = { minVersion: "TLSv1.3", checkServerIdentity: () => undefined } as const;
  const tls = createTlsServer({ ...common, pskCallback: () => psk });
  const listener = createServer({ pauseOnConnect: true });
  const sockets: Socket[] = [];
  const track = <S extends Socket>(socket: S): S => {
    sockets.push(socket.on("error", ignore));
    return socket;
  };
  try {
    await once(listener.listen(path), "listening", { signal });
    const accepted = once(listener, "connection", { signal });
    const clientTransport = track(connect({ path }).pause());
    const [serverTransport] = (await accepted) as [Socket];
    track(serverTransport);
    const server = new Intake(serverTransport, "server", reading);
    const serverStream = track(new ServerSide(tls).streamOn(serverTransport));
    const client = new Intake(clientTransport, "client", reading);
    const clientStream = track(
      connectTls({ ...common, socket: clientTransport, pskCallback: () => ({ psk, identity: "self" }) }),
    );
    const read = Promise.all([
      bytesReadWhen(clientStream, "secureConnect", clientTransport, client, signal),
      bytesReadWhen(tls, "secureConnection", serverTransport, server, signal),
    ]);
    server.feed(serverStream);
    client.feed(clientStream);
    if ((await read).some((bytes) => bytes > 0)) throw new Error("TLS read during the handshake");
    client.release();
    server.release();
    const sent = randomBytes(4 * MOST_BYTES);
    clientStream.end(sent);
    const chunks: Buffer[] = [];
    serverStream.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(serverStream, "end", { signal });
    if (!Buffer.concat(chunks).equals(sent)) throw new Error("what followed the handshake was lost");
  } finally {
    for (const socket of sockets) socket.destroy();
    listener.close();
  }
}

/** @returns how much was read of the transport by itself when its handshake was done */
async function bytesReadWhen(
  emitter: TLSSocket | ReturnType<typeof createTlsServer>,
  event: string,
  transport: Socket,
  intake: Intake,
  signal: AbortSignal,
): Promise<number> {
  let bytes = Infinity;
  const done = (): void => {
    intake.done();
    bytes = transport.bytesRead;
  };
  emitter.on(event, done);
  await once(emitter, event, { signal });
  return bytes;
}
