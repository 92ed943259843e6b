import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { getSystemErrorName } from "node:util";
import { type Carrier, MOST_READ, type Way } from "./pump.ts";

/**
 * Reads into one buffer for all connections, where Node allocates a new one for each read, and hands what is written to
 * the system at once, where Node queues it. This is what `net.Socket` does below its streams (lib/net.js and
 * lib/internal/stream_base_commons.js of Node): its handle is told where to read to, who gets it, and what to write.
 * Everything else, from connecting to the end and to errors, stays with `net.Socket`. No other file relies on Node's
 * internals for speed, and this one tries them first.
 */

/** The internal binding `stream_wrap`; DEP0111 names a way to it. */
interface StreamWrap {
  readonly WriteWrap: new () => WriteRequest;
  /** How the last call went. */
  readonly streamBaseState: Int32Array;
  /** Places in it. */
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

interface WriteRequest {
  carrier?: Carrier;
  sink?: Socket;
  /** Called where not all was written at once. */
  oncomplete?: (this: WriteRequest, status: number) => void;
  /** What TLS says of a status that is an error. */
  readonly error?: string;
}

interface Handle {
  reading: boolean;
  onread: (this: Handle, bytes: ArrayBuffer | undefined) => unknown;
  readStart(): number;
  readStop(): number;
  useUserBuffer(buffer: Uint8Array): void;
  /** @returns 0, or the negative number of an error */
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
}

/** @returns a way to read and write, or undefined where this Node does not have it, or does not do with it what it should */
export async function findFastPath(): Promise<Way | undefined> {
  const binding = streamWrap();
  if (binding === undefined) return undefined;
  const way = fastWay(binding);
  return (await proves(way, false)) && (await proves(way, true)) ? way : undefined;
}

function streamWrap(): StreamWrap | undefined {
  try {
    const { binding } = process as { binding?: (name: string) => Partial<StreamWrap> };
    const found = binding?.call(process, "stream_wrap");
    return found !== undefined && isWhole(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function isWhole(binding: Partial<StreamWrap>): binding is StreamWrap {
  const { WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = binding;
  return (
    typeof WriteWrap === "function" &&
    streamBaseState instanceof Int32Array &&
    typeof kReadBytesOrError === "number" &&
    typeof kLastWriteWasAsync === "number"
  );
}

function fastWay({ WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync }: StreamWrap): Way {
  const shared = Buffer.allocUnsafeSlow(MOST_READ);
  /** Of the beginning of it, by the last bits of their length: small messages are often as long as the one before. */
  const views = Array.from({ length: 64 }, (_, length) => shared.subarray(0, length));
  const view = (length: number): Buffer => {
    const at = length % views.length;
    const last = views[at];
    return last?.length === length ? last : (views[at] = shared.subarray(0, length));
  };
  const oncomplete: WriteRequest["oncomplete"] = function (status) {
    if (this.sink?.destroyed !== false) return;
    if (status === 0) this.carrier?.written();
    else this.sink.destroy(failure(status, this.error));
  };
  let spare = new WriteWrap();
  return {
    begin(source, carrier) {
      const handle = handleOf(source);
      if (handle === undefined) return;
      // What came before, while the other side was being dialed; one call may give a part of it.
      for (let bytes = readBuffered(source); bytes !== null; bytes = readBuffered(source)) carrier.take(bytes);
      const { onread } = handle;
      handle.onread = function (bytes) {
        const length = streamBaseState[kReadBytesOrError] ?? 0;
        // Ends and errors go Node's way.
        if (length <= 0) return onread.call(this, bytes);
        carrier.take(view(length));
        return undefined;
      };
      handle.useUserBuffer(shared);
    },
    stop(source) {
      const handle = handleOf(source);
      if (handle === undefined) return;
      handle.reading = false;
      handle.readStop();
    },
    go(source) {
      const handle = handleOf(source);
      if (handle === undefined) return;
      handle.reading = true;
      // It refuses where it reads already, or has seen the end: there is nothing to do then.
      handle.readStart();
    },
    write(sink, bytes, carrier) {
      const handle = handleOf(sink);
      if (handle === undefined) return false;
      const request = spare;
      const status = handle.writeBuffer(request, bytes);
      if (status === 0 && streamBaseState[kLastWriteWasAsync] === 0) return true;
      // The request is used up.
      spare = new WriteWrap();
      if (status !== 0) {
        sink.destroy(failure(status));
        return false;
      }
      request.carrier = carrier;
      request.sink = sink;
      request.oncomplete = oncomplete;
      return false;
    },
  };
}

function failure(status: number, message = "write failed"): Error {
  return Object.assign(new Error(message), { code: getSystemErrorName(status) });
}

function handleOf(socket: Socket): Handle | undefined {
  return (socket as { _handle?: Handle | null })._handle ?? undefined;
}

function readBuffered(source: Socket): Buffer | null {
  return source.read() as Buffer | null;
}

/** How long the trial may take; it needs a few milliseconds. */
const TRIAL_MS = 2_000;

/**
 * Whether, on a connection within this process, it writes all that it is given, reads what was sent before and after it
 * began, stands still when it should, and sees the end.
 */
async function proves(way: Way, isTls: boolean): Promise<boolean> {
  const sent = randomBytes(MOST_READ + 40_000);
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
    await new Promise((resolve) => one.write(sent.subarray(0, 100), resolve));
    let isStopped = false;
    let isObeyed = true;
    way.begin(other, {
      take(bytes) {
        // Of TLS, what was decrypted when it was stopped still comes.
        if (isStopped && !isTls) isObeyed = false;
        received.push(Buffer.from(bytes));
        isStopped = true;
        way.stop(other);
        setImmediate(() => {
          isStopped = false;
          way.go(other);
        });
      },
      written() {},
    });
    isStopped = false;
    other.resume();
    let at = 100;
    const sender = {
      take() {},
      written() {
        while (at < sent.length) if (!way.write(one, sent.subarray(at, (at += 50_000)), sender)) return;
        one.end();
      },
    };
    sender.written();
    await once(other, "end", { signal });
    return isObeyed && Buffer.concat(received).equals(sent);
  } catch {
    return false;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}
