import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { PORTION, type Read, type Take } from "./pump.ts";

/**
 * Reads into one buffer for all connections, where Node allocates a new one for each read. The option `onread` does that
 * for connections that one makes; for accepted ones it has no public form. This file sets what the option sets: two
 * properties that `net.Socket` keeps under symbols, and the buffer of the handle. Everything else, from pausing to the
 * end, stays with `net.Socket`. No other file relies on Node's internals for speed, and this one tries them first.
 */

interface Handle {
  useUserBuffer(buffer: Uint8Array): void;
}

type Internals = Socket & { readonly _handle?: Handle | null } & Record<symbol, unknown>;

/** @returns a way to read, or undefined where this Node does not have it, or does not do with it what it should */
export async function findFastPath(): Promise<Read | undefined> {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const [kBuffer, kCallback] = ["kBuffer", "kBufferCb"].map((name) => symbols.find((it) => it.description === name));
  if (kBuffer === undefined || kCallback === undefined) return undefined;

  const shared = Buffer.allocUnsafeSlow(PORTION);
  const read = (source: Socket, take: Take): void => {
    const socket = source as Internals;
    if (socket._handle === null || socket._handle === undefined) return;
    // What came before, while the other side was being dialed; one call may give a part of it.
    for (let bytes = readBuffered(source); bytes !== null; bytes = readBuffered(source)) take(bytes);
    socket[kBuffer] = shared;
    socket[kCallback] = (length: number) => take(shared.subarray(0, length));
    socket._handle.useUserBuffer(shared);
  };
  return (await proves(read, false)) && (await proves(read, true)) ? read : undefined;
}

function readBuffered(source: Socket): Buffer | null {
  return source.read() as Buffer | null;
}

/** How long the trial may take; it needs a few milliseconds. */
const TRIAL_MS = 2_000;

/**
 * Whether it reads, on a connection within this process, what was sent before and after it began, stands still when it
 * should, and sees the end.
 */
async function proves(read: Read, isTls: boolean): Promise<boolean> {
  const sent = randomBytes(3 * PORTION);
  const received: Buffer[] = [];
  // An abstract Unix socket: no file, no port, no rule of a firewall.
  const path = `\0contrast-mesh-proxy-${randomUUID()}`;
  const psk = randomBytes(32);
  const common = { minVersion: "TLSv1.3", checkServerIdentity: () => undefined } as const;
  const server: Server = isTls
    ? createTlsServer({ ...common, pskCallback: () => psk })
    : createServer({ pauseOnConnect: true });
  const client = (): Socket =>
    isTls ? connectTls({ ...common, path, pskCallback: () => ({ psk, identity: "self" }) }) : connect({ path });
  const sockets: Socket[] = [];
  try {
    const signal = AbortSignal.timeout(TRIAL_MS);
    await once(server.listen(path), "listening", { signal });
    const accepted = once(server, isTls ? "secureConnection" : "connection", { signal });
    accepted.catch(() => {});
    const one = client().on("error", () => {});
    sockets.push(one);
    const [other] = (await accepted) as [Socket];
    sockets.push(other.on("error", () => {}));
    one.write(sent.subarray(0, 100));
    read(other, (bytes) => {
      received.push(Buffer.from(bytes));
      other.pause();
      setImmediate(() => other.resume());
    });
    other.resume();
    one.end(sent.subarray(100));
    await once(other, "end", { signal });
    return Buffer.concat(received).equals(sent);
  } catch {
    return false;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}
