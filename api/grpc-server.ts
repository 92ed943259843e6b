import { Metadata, status } from "@grpc/grpc-js";
import { constants, type IncomingHttpHeaders, performServerHandshake, type ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { Refusal } from "./refusal.ts";
import type { Status } from "./status.ts";

/**
 * The server's side of gRPC on one connection
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): one request for each call, one answer or a stream of
 * them, no compression.
 *
 * It is here because the peers are strangers. grpc-js inflates a message, and keeps it in the pieces that it came in,
 * before anybody can refuse it; and a call that is never finished keeps its connection open. Here a message has a largest
 * size that its caller decides, its bytes are reserved before they are kept, and both its coming and the going of its
 * answer have an end.
 */

/** What a peer may call, by path: `/package.Service/Method`. */
export type Methods = Map<string, Method>;

export interface Method {
  /**
   * Asked before anything is kept of a request that is larger than `SMALL_REQUEST`.
   *
   * @returns why this caller may not send one; undefined: he may
   */
  readonly refuseLarge: (headers: IncomingHttpHeaders) => Status | undefined;
  readonly answer: (request: Buffer, call: Call) => Promise<Answer>;
}

export interface Call {
  /** Fires when nobody waits for the answer any more; the reason is a Refusal `deadline_exceeded`. */
  readonly signal: AbortSignal;
  /** One message of a stream of answers. What the peer does not read in time ends the call. */
  readonly send: (message: Uint8Array) => void;
}

export interface Answer {
  readonly status: Status;
  /** The last message, or the only one. */
  readonly message?: Uint8Array | undefined;
  /** Whether it was made for this call alone. What is shared among all who ask for it costs no more of them. */
  readonly isOwn?: boolean;
}

export interface CallLimits {
  /** For a request to be complete, and for each piece of an answer to be read, in milliseconds. */
  readonly requestMs: number;
  /** A connection without a call is closed after this, in milliseconds. */
  readonly idleMs: number;
  /** No connection lives longer than this, in milliseconds. */
  readonly ageMs: number;
  /** The largest request that anybody may send, in bytes. */
  readonly requestBytes: number;
  /** Takes so many bytes for a request, or for an answer. @returns what gives them back; undefined where there is no room */
  readonly reserve: (bytes: number) => (() => void) | undefined;
  /** Makes a status of what went wrong before a method was asked. */
  readonly toStatus: (error: unknown) => Status;
  /** Is told when the peer has a call that it waits for, and when it is the peer's turn again. */
  readonly onTurn?: (isOurs: boolean) => void;
}

export interface CallServer {
  /** Answers the calls that are there, takes no others, then ends the connection. */
  close(): void;
  /** Ends the connection at once. */
  destroy(): void;
}

/** Calls at once on one connection. */
const STREAMS = 2;

/** Calls of one connection, one after the other. Whoever needs more connects again, and waits for his turn like others. */
const MAX_CALLS = 100;

/**
 * How many calls of one connection a peer may cancel before they are answered. A call costs the server much more than it
 * costs a peer that cancels it at once (CVE-2023-44487). Node's own `streamResetBurst` leaks each session that it ends
 * (seen with Node 26.10).
 */
const MAX_RESETS = 16;

/** Of all headers of a call: gRPC's own, and a permit. */
const HEADER_BYTES = 8 * 1024;
const HEADERS = 32;

/** The length of a message stands before it, behind a byte that says whether it is compressed. */
const PREFIX = 5;

/** A key, a seed share and a few digests. Requests that are no larger are part of what a connection costs. */
const SMALL_REQUEST = 4096;

/** Three certificates and a few secrets. An answer that is no larger is part of what a connection costs. */
const SMALL_ANSWER = 32 * 1024;

/** So much of an answer is on its way at once. What is left of it is shared among all who are given it. */
const PIECE = 16 * 1024;

/** The slowest that a large request may come, in bytes for each millisecond. */
const SLOWEST = 64;

/** Largest answer to a request that is refused. */
const MAX_DETAILS = 2048;

/** @param socket all writes on it are done */
export function serveCalls(socket: Duplex, methods: Methods, limits: CallLimits): CallServer {
  const session = performServerHandshake(socket, {
    // In MB; the least that there is. Above it HTTP/2 refuses new streams.
    maxSessionMemory: 1,
    maxHeaderListPairs: HEADERS,
    maxSettings: 16,
    settings: { maxConcurrentStreams: STREAMS, maxHeaderListSize: HEADER_BYTES, enablePush: false },
  });
  session.on("error", ignore);
  let [calls, open, ours, resets] = [0, 0, 0, 0];
  const destroy = (): void => {
    session.destroy();
    // Without an error Node ends it, and waits until the peer does so, too.
    socket.destroy();
  };
  let grace: NodeJS.Timeout | undefined;
  /** Not `session.close()`: Node leaks a session that is closed so while its peer goes on (seen with Node 26.10). */
  const close = (): void => {
    if (grace !== undefined || session.destroyed) return;
    grace = setTimeout(destroy, limits.requestMs);
    session.goaway();
    if (open === 0) session.destroy();
  };
  const age = setTimeout(close, limits.ageMs);
  let idle = setTimeout(close, limits.idleMs);
  const turn = (change: 1 | -1): void => {
    ours += change;
    if (ours === (change === 1 ? 1 : 0)) limits.onTurn?.(change === 1);
  };
  session.on("stream", (stream, headers) => {
    calls += 1;
    open += 1;
    clearTimeout(idle);
    stream.on("error", ignore);
    stream.once("close", () => {
      open -= 1;
      if (stream.aborted) resets += 1;
      if (resets > MAX_RESETS) destroy();
      if (open > 0 || session.destroyed) return;
      if (grace === undefined) idle = setTimeout(close, limits.idleMs);
      else session.destroy();
    });
    if (calls === MAX_CALLS) close();
    // It was told and goes on; or it has cancelled calls faster than they are told to be closed.
    if (calls > 2 * MAX_CALLS || open > STREAMS + MAX_RESETS) destroy();
    else void serveCall({ stream, headers, methods, limits, destroy, turn });
  });
  // Node keeps a session whose socket is destroyed below it.
  socket.once("close", destroy);
  session.once("close", () => {
    clearTimeout(idle);
    clearTimeout(age);
    clearTimeout(grace);
  });
  return { close, destroy };
}

interface OpenCall {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly methods: Methods;
  readonly limits: CallLimits;
  /** Ends the connection. */
  readonly destroy: () => void;
  readonly turn: (change: 1 | -1) => void;
}

async function serveCall(open: OpenCall): Promise<void> {
  const { stream, headers, methods, limits, destroy, turn } = open;
  const abandoned = new AbortController();
  const abandon = (): void => abandoned.abort(new Refusal("deadline_exceeded", "nobody waits for the answer any more"));
  stream.once("close", abandon);
  const timeout = timeoutOf(headers);
  const deadline = timeout === undefined ? undefined : setTimeout(abandon, timeout);
  const taken: { release?: () => void } = {};
  let release: (() => void) | undefined;
  const writer = new AnswerWriter(stream, limits.requestMs, destroy);
  try {
    const refused = refusalOf(headers, methods);
    if (refused !== undefined) {
      refuse(stream, refused);
      return;
    }
    const method = methods.get(String(headers[constants.HTTP2_HEADER_PATH]));
    if (method === undefined) return;
    const request = await readRequest(open, method, taken);
    if (request === undefined) return;
    turn(1);
    const answer = await method
      .answer(request, { signal: abandoned.signal, send: (message) => writer.send(message) })
      .finally(() => turn(-1));
    release = reserveAnswer(answer, limits);
    await writer.finish(answer);
  } catch (error) {
    refuse(stream, limits.toStatus(error));
  } finally {
    clearTimeout(deadline);
    stream.off("close", abandon);
    taken.release?.();
    release?.();
  }
}

/**
 * Takes the bytes of a large answer for as long as its caller reads it.
 *
 * @throws Refusal `overloaded`
 */
function reserveAnswer({ message, isOwn = false }: Answer, { reserve }: CallLimits): (() => void) | undefined {
  if (!isOwn || message === undefined || message.length <= SMALL_ANSWER) return undefined;
  const release = reserve(message.length);
  if (release !== undefined) return release;
  throw new Refusal("overloaded", "there is no room for so large an answer", { hint: "try again soon" });
}

/** What is wrong with a call before its request is looked at. */
function refusalOf(headers: IncomingHttpHeaders, methods: Methods): Status | undefined {
  // What was agreed on binds a peer when it has said so, which it need not.
  const length = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + String(value).length, 0);
  if (length > HEADER_BYTES) return { code: status.RESOURCE_EXHAUSTED, details: "too many headers" };
  const path = String(headers[constants.HTTP2_HEADER_PATH]);
  const isGrpc = headers["content-type"]?.startsWith("application/grpc") === true;
  if (!isGrpc || headers[constants.HTTP2_HEADER_METHOD] !== "POST") {
    return { code: status.INTERNAL, details: "no call of gRPC" };
  }
  if (!methods.has(path)) {
    return { code: status.UNIMPLEMENTED, details: "the server has no such method" };
  }
  // It would have to be inflated to know how large it is.
  if ((headers["grpc-encoding"] ?? "identity") !== "identity") return COMPRESSED;
  return undefined;
}

const COMPRESSED: Status = { code: status.UNIMPLEMENTED, details: "compressed messages are not taken" };

/**
 * Reads the one message of a request, into a buffer of its own.
 *
 * @returns undefined where it was refused, or where the caller went away
 */
async function readRequest(
  { stream, headers, limits, destroy }: OpenCall,
  { refuseLarge }: Method,
  taken: { release?: () => void },
): Promise<Buffer | undefined> {
  const prefix = Buffer.alloc(PREFIX);
  let message: Buffer | undefined;
  let filled = 0;
  // Who does not finish a call does so with all calls of the connection.
  let deadline = setTimeout(destroy, limits.requestMs);
  /** @returns a refusal; undefined: go on */
  const begin = (): Error | Status | undefined => {
    if (prefix[0] !== 0) return COMPRESSED;
    const length = prefix.readUInt32BE(1);
    if (length > SMALL_REQUEST) {
      if (length > limits.requestBytes) {
        const details = { got: `${length} bytes`, want: `at most ${limits.requestBytes}` };
        return new Refusal("request_too_large", "the request is larger than any may be", details);
      }
      const refusal = refuseLarge(headers);
      if (refusal !== undefined) return refusal;
      const release = limits.reserve(length);
      if (release === undefined) {
        return new Refusal("overloaded", "there is no room for so large a request", { hint: "try again soon" });
      }
      taken.release = release;
      clearTimeout(deadline);
      deadline = setTimeout(destroy, limits.requestMs + length / SLOWEST);
    }
    message = Buffer.allocUnsafeSlow(length);
    return undefined;
  };
  try {
    return await new Promise<Buffer | undefined>((resolve, reject) => {
      const take = (piece: Buffer): Error | Status | undefined => {
        let offset = 0;
        if (filled < PREFIX) {
          offset = piece.copy(prefix, filled);
          filled += offset;
          const refusal = filled === PREFIX ? begin() : undefined;
          if (refusal !== undefined) return refusal;
        }
        const rest = piece.length - offset;
        if (rest === 0) return undefined;
        if (message === undefined || filled + rest > PREFIX + message.length) {
          return new Refusal("malformed_request", "the request has more than one message");
        }
        piece.copy(message, filled - PREFIX, offset);
        filled += rest;
        return undefined;
      };
      stream.on("data", (piece: Buffer) => {
        const refusal = take(piece);
        if (refusal === undefined) return;
        if (refusal instanceof Error) reject(refusal);
        else {
          refuse(stream, refusal);
          resolve(undefined);
        }
      });
      stream.once("end", () => {
        if (message !== undefined && filled === PREFIX + message.length) resolve(message);
        else reject(new Refusal("malformed_request", "the request ends too early"));
      });
      stream.once("close", () => resolve(undefined));
    });
  } finally {
    clearTimeout(deadline);
  }
}

/** Writes messages in pieces, each when the one before it has left. */
class AnswerWriter {
  readonly #stream: ServerHttp2Stream;
  readonly #pieceMs: number;
  readonly #destroy: () => void;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(stream: ServerHttp2Stream, pieceMs: number, destroy: () => void) {
    this.#stream = stream;
    this.#pieceMs = pieceMs;
    this.#destroy = destroy;
  }

  send(message: Uint8Array): void {
    this.#waiting += 1;
    if (this.#waiting > MAX_UNREAD) {
      this.#destroy();
      return;
    }
    this.#last = this.#last.then(() => this.#message(message)).finally(() => (this.#waiting -= 1));
  }

  async finish({ status: outcome, message }: Answer): Promise<void> {
    if (message !== undefined) this.send(message);
    await this.#last;
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (!stream.headersSent) {
      refuse(stream, outcome);
      return;
    }
    stream.once("wantTrailers", () => stream.sendTrailers(trailersOf(outcome)));
    await this.#within((done) => stream.end(done));
  }

  async #message(message: Uint8Array): Promise<void> {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (!stream.headersSent) stream.respond(RESPONSE, { waitForTrailers: true });
    const prefix = Buffer.alloc(PREFIX);
    prefix.writeUInt32BE(message.length, 1);
    let piece: Buffer = Buffer.concat([prefix, message.subarray(0, PIECE - PREFIX)]);
    for (let next = PIECE - PREFIX; ; next += PIECE) {
      const current = piece;
      await this.#within((done) => stream.write(current, done));
      if (next >= message.length || stream.destroyed) return;
      const rest = message.subarray(next, next + PIECE);
      piece = Buffer.from(rest.buffer, rest.byteOffset, rest.byteLength);
    }
  }

  /** Who does not read loses the connection: what he does not read is kept for him. */
  async #within(write: (done: () => void) => void): Promise<void> {
    const timer = setTimeout(this.#destroy, this.#pieceMs);
    const stream = this.#stream;
    await new Promise<void>((resolve) => {
      stream.once("close", resolve);
      write(() => {
        stream.off("close", resolve);
        resolve();
      });
    });
    clearTimeout(timer);
  }
}

/** Messages of a stream of answers that wait for a reader. */
const MAX_UNREAD = 16;

const RESPONSE = {
  [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
};

/**
 * Answers without a message. What is still to come of the request is thrown away: unread it would use up the window of
 * the connection, and the next call could say nothing (RFC 9113 §5.2.2).
 */
function refuse(stream: ServerHttp2Stream, outcome: Status): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  stream.removeAllListeners("data");
  stream.resume();
  stream.respond({ ...RESPONSE, ...trailersOf(outcome) }, { endStream: true });
  // A reset at once would overtake the answer at the client.
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LINGER_MS);
  stream.once("close", () => clearTimeout(timer));
}

/** How long a caller who was refused may take to end the call, in milliseconds. */
const LINGER_MS = 200;

function trailersOf({ code, details = "", metadata = new Metadata() }: Status): Record<string, string | string[]> {
  return {
    ...(metadata?.toHttp2Headers() as Record<string, string[]>),
    "grpc-status": String(code ?? status.UNKNOWN),
    "grpc-message": encodeURI(details.slice(0, MAX_DETAILS).toWellFormed()),
  };
}

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** What the caller waits, in milliseconds. */
function timeoutOf({ "grpc-timeout": text }: IncomingHttpHeaders): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(text)) ?? [];
  const milliseconds = Number(digits) * (UNITS[unit] ?? NaN);
  // Longer than a timer can be is for ever.
  return milliseconds < 2 ** 31 ? Math.ceil(milliseconds) : undefined;
}

function ignore(): void {
  // Whoever waits for the stream is told of its end.
}
