import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { AttestRequest, type Capabilities } from "../../api/http/answers.ts";
import type { Connection } from "../../channel/connection.ts";
import type { ChannelObserver } from "../../channel/server.ts";
import type { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import type { Logger } from "../../runtime/log.ts";
import { VERSION } from "../../runtime/version.ts";
import { readBody } from "../serve/body-reader.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { ALWAYS, type Answer, documentAnswer, jsonAnswer, preflightAnswer, problemAnswer } from "./answer.ts";
import { AttestError, changeProblemOf, problemOf } from "./attest-error.ts";
import { type Attestations, BATCH_MS, stateChanged } from "./attestations.ts";
import type { Admitted, Changes } from "./changes.ts";
import type { EvidenceSource } from "./evidence-source.ts";
import { type AttestLimits, HEAD_BYTES, MOST_BODY, MOST_PIECES, STAYING_BYTES } from "./limits.ts";
import type { PublishedHistory } from "./published-history.ts";
import { type Asked, type Operation, route, unknownDigest } from "./router.ts";
import { Visitors } from "./visitors.ts";

/**
 * The HTTP attestation API (docs/http-api.md): anybody may ask what this Coordinator enforces and which keys it has, over any
 * proxy. Nothing that it answers is secret, and nothing is believed because it came from here: it is worth what the evidence
 * in it says.
 */
export interface AttestPortOptions {
  readonly guard: StateGuard;
  readonly attestations: Attestations;
  readonly published: PublishedHistory;
  readonly source: EvidenceSource;
  readonly changes: Changes;
  /** The OpenAPI document, JSON. */
  readonly document: Uint8Array;
  readonly limits: AttestLimits;
  /** Lets in one at a time, of all ports of this process. */
  readonly turns: KeyedSemaphore;
  readonly log: Logger;
  readonly observer?: ChannelObserver | undefined;
  /** Is told of every answer. */
  readonly answered: (answered: Answered) => void;
}

export interface Answered {
  readonly operation: Operation | "options" | "other";
  /** `ok`, or the code of the refusal: of a bounded set. */
  readonly result: string;
}

interface Client {
  readonly connection: Connection;
  /** `answered` as long as the answer is not written. */
  state: "idle" | "asked" | "answered";
  /** A request that came meanwhile: whoever has read an answer may be faster than the server learns that it is written. */
  next: (() => void) | undefined;
  /** Bytes of its answers up to now. */
  sent: number;
}

/** Bytes of a change in a millisecond, as over the attested channel; and of a piece of it, on average. */
const SLOWEST = 64;
const LEAST_PIECE = 512;

/** What a client that still sends has to read why that is not taken, in milliseconds. */
const LINGER_MS = 1000;

export class AttestPort {
  readonly #options: AttestPortOptions;
  readonly #visitors: Visitors;
  readonly #http: Server;
  readonly #clients = new Map<unknown, Client>();
  #isClosing = false;

  private constructor(options: AttestPortOptions) {
    this.#options = options;
    const { limits, log, observer } = options;
    const accepted = (connection: Connection): void => this.#begin(connection);
    this.#visitors = new Visitors({ limits, log, observer, accepted });
    // Its own limits of time are looked at only by a server that listens.
    this.#http = createServer({ maxHeaderSize: HEAD_BYTES, requireHostHeader: false, keepAliveTimeout: 0 });
    const serve =
      (expectation: Expectation) =>
      (request: IncomingMessage, response: ServerResponse): void =>
        void this.#serve(request, response, expectation);
    this.#http.on("request", serve("none"));
    this.#http.on("checkContinue", serve("continue"));
    this.#http.on("checkExpectation", serve("other"));
    this.#http.on("clientError", (error: NodeJS.ErrnoException, socket) => this.#malformed(error, socket as Socket));
    this.#http.on("connect", (_request, socket) => socket.destroy());
  }

  /** @throws ChannelError `address_unavailable` */
  static async listen(
    options: AttestPortOptions,
    port: number,
    address: string | undefined,
  ): Promise<AttestPort & { readonly port: number }> {
    const attest = new AttestPort(options);
    return Object.assign(attest, { port: await attest.#visitors.listen(port, address) });
  }

  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const closed = this.#visitors.close(graceMs);
    for (const { state, connection } of this.#clients.values()) if (state === "idle") connection.destroy();
    await closed;
  }

  #begin(connection: Connection): void {
    const { transport } = connection;
    const client: Client = { connection, state: "idle", next: undefined, sent: 0 };
    this.#clients.set(transport, client);
    transport.once("close", () => this.#clients.delete(transport));
    // Node calls it after the last answer, and would close a connection whose answer lies unread in the kernel.
    transport.destroySoon = () => this.#visitors.leave(connection);
    this.#visitors.awaitRequest(connection);
    this.#http.emit("connection", transport);
  }

  async #serve(request: IncomingMessage, response: ServerResponse, expectation: Expectation): Promise<void> {
    const client = this.#clients.get(request.socket);
    if (client?.state === "answered" && client.next === undefined) {
      client.next = () => void this.#serve(request, response, expectation);
      return;
    }
    // Who does not wait for an answer before the next request gets none.
    if (client?.state !== "idle") {
      request.socket.destroy();
      return;
    }
    client.state = "asked";
    const facts: Facts = { operation: "other", allow: undefined };
    let answer: Answer;
    let result = "ok";
    try {
      answer = await this.#handle(client, request, response, expectation, facts);
    } catch (error) {
      const problem = facts.operation === "set" ? changeProblemOf(error) : problemOf(error);
      result = problem.code;
      if (result === "internal") this.#options.log.error({ error }, "a request to the attestation port failed");
      answer = problemAnswer(problem, facts.allow);
    }
    if (client.connection.transport.destroyed) return;
    this.#options.answered({ operation: facts.operation, result });
    this.#answer(client, request, response, answer);
  }

  async #handle(
    { connection }: Client,
    request: IncomingMessage,
    response: ServerResponse,
    expectation: Expectation,
    facts: Facts,
  ): Promise<Answer> {
    const { method = "", url = "", headers, httpVersion } = request;
    await this.#turn(connection);
    if (httpVersion === "1.1" && headers.host === undefined) {
      throw new AttestError("malformed_request", "a request of HTTP/1.1 has a header Host");
    }
    const { asked, allow } = route(method, url);
    facts.allow = allow;
    if (asked === undefined) throw new AttestError("unsupported_method", "not with this method", { want: allow });
    facts.operation = asked.operation;
    if (expectation === "other") {
      throw new AttestError("unsupported_expectation", "no such expectation is met", { want: "100-continue" });
    }
    const begin = (): void => {
      if (expectation === "continue") response.writeContinue();
    };
    if (asked.operation === "set") return this.#set(connection, request, response, begin);
    if (asked.operation !== "attest") return this.#read(asked, allow, headers["if-none-match"]);
    // Before anything is read: who is not ready says so at once.
    this.#options.guard.active();
    const nonce = await this.#readNonce(connection, request, begin);
    return this.#attest(connection, response, nonce);
  }

  async #read(
    asked: Exclude<Asked, { readonly operation: "attest" | "set" }>,
    allow: string,
    ifNoneMatch: string | undefined,
  ): Promise<Answer> {
    const { published, document } = this.#options;
    if ("digest" in asked) {
      const { documents } = await published.read();
      const bytes = documents[asked.operation].get(asked.digest);
      if (bytes === undefined) throw unknownDigest();
      return documentAnswer(asked.operation, asked.digest, bytes, ifNoneMatch);
    }
    switch (asked.operation) {
      case "options":
        return preflightAnswer(allow);
      case "openapi":
        return jsonAnswer([document]);
      case "capabilities":
        return jsonAnswer([Buffer.from(JSON.stringify(await this.#capabilities()))]);
      case "history":
        return jsonAnswer([(await published.read()).history]);
    }
  }

  async #capabilities(): Promise<Capabilities> {
    const { guard, source } = this.#options;
    const tee = await source.kind();
    return { version: 1, program: VERSION, state: guard.phase, insecure: source.insecure, tee, batchMs: BATCH_MS };
  }

  /** @param begin tells the client that it may send the body */
  async #readNonce(connection: Connection, request: IncomingMessage, begin: () => void): Promise<Buffer> {
    requireJson(request);
    const bounds = { most: MOST_BODY, mostPieces: MOST_PIECES, tooLarge, malformed };
    const { promise: late, reject } = Promise.withResolvers<never>();
    this.#visitors.awaitBody(connection, () => {
      reject(new AttestError("request_too_slow", "the body did not come in time"));
    });
    const body = readBody(request, bounds);
    if (Number(request.headers["content-length"] ?? 0) <= MOST_BODY) begin();
    const bytes = await Promise.race([body, late]);
    this.#visitors.work(connection);
    return parseNonce(bytes);
  }

  async #attest(connection: Connection, response: ServerResponse, nonce: Buffer): Promise<Answer> {
    const { attestations, guard, limits } = this.#options;
    const left = new AbortController();
    response.once("close", () => left.abort());
    const timer = setTimeout(() => {
      left.abort(new AttestError("evidence_too_slow", "the TEE makes no evidence in time"));
    }, limits.evidenceMs);
    try {
      const { body, snapshot } = await attestations.attest(nonce, left.signal);
      await this.#turn(connection);
      if (guard.active() !== snapshot) throw stateChanged();
      return jsonAnswer(body);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whoever is admitted has an owner's signature with him: he keeps his place while he sends. */
  async #set(
    connection: Connection,
    request: IncomingMessage,
    response: ServerResponse,
    begin: () => void,
  ): Promise<Answer> {
    const { changes } = this.#options;
    requireJson(request);
    const admitted = changes.admit(request.headers);
    const left = new AbortController();
    response.once("close", () => left.abort());
    try {
      const body = await this.#readChange(connection, request, admitted, begin);
      await this.#turn(connection);
      const answer = await changes.set(body, admitted, connection.peer, left.signal);
      return jsonAnswer([Buffer.from(JSON.stringify(answer))]);
    } finally {
      admitted.reservation.release();
    }
  }

  async #readChange(
    connection: Connection,
    request: IncomingMessage,
    { bytes }: Admitted,
    begin: () => void,
  ): Promise<Buffer> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new AttestError("request_too_slow", "the body did not come in time")),
      this.#options.limits.requestMs + bytes / SLOWEST,
    );
    connection.hold("deadline", () => clearTimeout(timer));
    const mostPieces = MOST_PIECES + bytes / LEAST_PIECE;
    const body = readBody(request, { most: bytes, mostPieces, tooLarge, malformed });
    begin();
    try {
      return await Promise.race([body, late]);
    } finally {
      connection.leave("deadline");
    }
  }

  /** Sources take turns with each other, and with all else that the Coordinator does. */
  async #turn(connection: Connection): Promise<void> {
    this.#visitors.work(connection);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const leave = this.#options.turns.enter(connection.source, () => resolve(undefined));
    if (leave === undefined) throw new AttestError("too_many_requests", "too much is asked at once");
    connection.hold("turn", leave);
    await promise;
    setImmediate(leave);
  }

  #answer(client: Client, request: IncomingMessage, response: ServerResponse, answer: Answer): void {
    const { connection } = client;
    const { mostBytes } = this.#options.limits;
    const bytes = lengthOf(answer);
    if (bytes > mostBytes) {
      const hint = "raise the memory limit of the Coordinator, or ask over the attested channel";
      const error = new AttestError("answer_too_large", "the answer is longer than there is memory for", { hint });
      this.#answer(client, request, response, problemAnswer(problemOf(error)));
      return;
    }
    client.state = "answered";
    client.sent += bytes;
    const isWhole = request.complete;
    const stays = isWhole && response.shouldKeepAlive && !this.#isClosing && client.sent <= STAYING_BYTES;
    response.once("finish", () => {
      client.state = "idle";
      const { next } = client;
      client.next = undefined;
      if (!stays) return;
      this.#visitors.awaitRequest(connection);
      next?.();
    });
    this.#visitors.awaitPlace(connection, bytes, () => {
      const { status, headers, body } = answer;
      response.writeHead(status, {
        ...ALWAYS,
        ...headers,
        ...(body === undefined ? {} : { "content-length": bytes }),
        connection: stays ? "keep-alive" : "close",
      });
      for (const piece of body ?? []) response.write(piece);
      response.end();
      // It still sends, and is not read: a reset must not overtake the answer.
      if (!isWhole) this.#visitors.leave(connection, LINGER_MS);
    });
  }

  #malformed(error: NodeJS.ErrnoException, socket: Socket): void {
    const client = this.#clients.get(socket);
    if (client?.state !== "idle" || !socket.writable || error.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    client.state = "asked";
    const problem = problemOf(malformed("no request of HTTP/1.1, or too long a head"));
    this.#options.answered({ operation: "other", result: problem.code });
    const { headers, body = [] } = problemAnswer(problem);
    const all = { ...ALWAYS, ...headers, "content-length": String(lengthOf({ body })), connection: "close" };
    const head = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
    socket.write(["HTTP/1.1 400 Bad Request", ...head, "", ""].join("\r\n"));
    for (const piece of body) socket.write(piece);
    this.#visitors.leave(client.connection, LINGER_MS);
  }
}

/** What the client waits for before it sends the body (RFC 9110 §10.1.1). */
type Expectation = "none" | "continue" | "other";

interface Facts {
  operation: Answered["operation"];
  allow: string | undefined;
}

function lengthOf({ body = [] }: Pick<Answer, "body">): number {
  return body.reduce((sum, { length }) => sum + length, 0);
}

function malformed(message: string): AttestError {
  return new AttestError("malformed_request", message);
}

function tooLarge(): AttestError {
  return new AttestError("request_too_large", "the body is longer than a request ever is", {
    want: `at most ${MOST_BODY} bytes`,
  });
}

/** Pages of other origins have to ask before they may send this. @throws AttestError `unsupported_media_type` */
function requireJson({ headers }: IncomingMessage): void {
  const type = headers["content-type"] ?? "";
  const isJson = /^application\/json *(; *charset="?utf-8"?)? *$/i.test(type);
  if (isJson && headers["content-encoding"] === undefined) return;
  throw new AttestError("unsupported_media_type", "the body is of another type", {
    where: "Content-Type",
    want: "application/json, without Content-Encoding",
  });
}

/** @throws AttestError `malformed_request` */
function parseNonce(body: Buffer): Buffer {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    // V8's message has a part of the text in it.
    throw malformed("the body is no JSON");
  }
  const parsed = AttestRequest.safeParse(value);
  if (parsed.success) return Buffer.from(parsed.data.nonce, "hex");
  throw new AttestError("malformed_request", "the body is no request for evidence", {
    where: "$.nonce",
    want: '{"nonce": 32 bytes as 64 digits of lower-case hexadecimal}, and nothing else',
  });
}
