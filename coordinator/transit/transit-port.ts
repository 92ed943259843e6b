import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../attestation/clock.ts";
import type { Connection } from "../../channel/connection.ts";
import type { ChannelObserver } from "../../channel/server.ts";
import type { KeyPair } from "../../pki/keys.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import type { Logger } from "../../runtime/log.ts";
import { readBody } from "../serve/body-reader.ts";
import type { StateGuard } from "../state/state-guard.ts";
import type { Snapshot } from "../state/snapshot.ts";
import { type Answer, answerOf, refusalOf } from "./answer.ts";
import { type Caller, callerOf, ClientCertificate } from "./caller.ts";
import { type Output, perform } from "./engine.ts";
import { Intake, type Secured } from "./intake.ts";
import type { TransitLimits } from "./limits.ts";
import { type Operation, parseOperation, requireOwnKey } from "./operation.ts";
import { MOST_BODY, parseInput, tooLarge } from "./request-body.ts";
import { basisOf, makeIdentity, reservedName, type ServerIdentity } from "./server-identity.ts";
import { TransitError, toldOf } from "./transit-error.ts";

/**
 * The part of Vault's transit API that auto-unseal uses, over TLS 1.3 with a client certificate of the mesh
 * (docs/decisions/0048-transit.md). Nothing that is decided about a connection lasts: for each request the snapshot of that
 * instant says whether its certificate counts, which key is the caller's, and by which versions.
 */
export interface TransitPortOptions {
  readonly guard: StateGuard;
  readonly keys: KeyPair;
  readonly clock: Clock;
  /** The clock as it is, for certificates that nobody has to accept. */
  readonly now: () => Date;
  readonly random: (length: number) => Buffer;
  readonly limits: TransitLimits;
  readonly turns: KeyedSemaphore;
  readonly log: Logger;
  readonly observer?: ChannelObserver | undefined;
  /** Is told of every request. */
  readonly answered: (answered: Answered) => void;
}

export interface Answered {
  readonly operation: Operation["kind"] | "other";
  /** `ok`, or the code of the refusal: of a bounded set. */
  readonly result: string;
  /** What the client was told. */
  readonly message: string;
  readonly peer: string;
  /** SHA-256 of the SubjectPublicKeyInfo of the client's certificate, hex; undefined: it showed none. */
  readonly key: string | undefined;
  /** Of a caller whose certificate counts. */
  readonly policy: string | undefined;
}

interface Client extends Secured {
  readonly certificate: ClientCertificate | undefined;
  /** Of its last request: `answered` as long as the answer is not written. */
  state: "idle" | "asked" | "answered";
  /** A request that came meanwhile: whoever has read an answer may be faster than the server learns that it is written. */
  next: (() => void) | undefined;
  /** Its places of a workload. */
  workload: string | undefined;
}

const HEAD_BYTES = 8192;
const BODY = {
  most: MOST_BODY,
  mostPieces: 2048,
  tooLarge,
  malformed: (message: string) => new TransitError("malformed_request", message),
} as const;
const LOOK_MS = 10_000;
/** How long a client that still sends has to read why that is not taken, in milliseconds. */
const LINGER_MS = 1000;

export class TransitPort {
  readonly #options: TransitPortOptions;
  readonly #intake: Intake;
  readonly #http: Server;
  readonly #clients = new Map<unknown, Client>();
  readonly #workloads: KeyedSemaphore;
  readonly #stop: (() => void)[] = [];
  #identity: ServerIdentity;

  private constructor(options: TransitPortOptions) {
    this.#options = options;
    const { limits, turns, log, observer, guard } = options;
    this.#identity = this.#makeIdentity();
    this.#workloads = new KeyedSemaphore(limits.workloads);
    this.#intake = new Intake({
      limits,
      turns,
      log,
      observer,
      identity: () => this.#identity,
      secured: (secured) => this.#begin(secured),
    });
    // Its own limits of time are looked at only by a server that listens.
    this.#http = createServer({ maxHeaderSize: HEAD_BYTES, requireHostHeader: true, keepAliveTimeout: 0 });
    this.#http.on("request", (request, response) => void this.#serve(request, response));
    this.#http.on("clientError", (error: NodeJS.ErrnoException, socket) => this.#malformed(error, socket as TLSSocket));
    this.#http.on("connect", (_request, socket) => socket.destroy());
    this.#http.on("upgrade", (_request, socket) => socket.destroy());
    this.#stop.push(guard.onChange(() => this.#look()));
    const timer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#stop.push(() => clearInterval(timer));
  }

  /** @throws ChannelError `address_unavailable` */
  static async listen(
    options: TransitPortOptions,
    port: number,
    address: string | undefined,
  ): Promise<TransitPort & { readonly port: number }> {
    const transit = new TransitPort(options);
    return Object.assign(transit, { port: await transit.#intake.listen(port, address) });
  }

  async close(graceMs: number): Promise<void> {
    for (const stop of this.#stop) stop();
    const closed = this.#intake.close(graceMs);
    for (const { state, connection } of this.#clients.values()) if (state === "idle") connection.destroy();
    await closed;
  }

  #makeIdentity(): ServerIdentity {
    const { guard, keys, clock, now } = this.#options;
    return makeIdentity(guard, { keys, now: (snapshot) => clock.now(snapshot?.manifest), clock: now });
  }

  /** Where something else is in force, connections of before end: at once, or with the answer that is under way. */
  #look(): void {
    const hasChanged = basisOf(this.#options.guard) !== this.#identity.basis;
    if (!hasChanged && this.#options.now() < this.#identity.renewAt) return;
    this.#identity = this.#makeIdentity();
    if (!hasChanged) return;
    for (const { state, connection } of this.#clients.values()) if (state === "idle") connection.destroy();
  }

  #begin({ connection, tls, identity }: Secured): void {
    const shown = tls.getPeerX509Certificate();
    const certificate = shown && new ClientCertificate(shown);
    const fresh = { state: "idle", next: undefined, workload: undefined } as const;
    const client: Client = { connection, tls, identity, certificate, ...fresh };
    this.#clients.set(tls, client);
    connection.transport.once("close", () => this.#clients.delete(tls));
    this.#idle(client);
    this.#http.emit("connection", tls);
  }

  /** It may keep silent, or be slow with the head of its next request, for so long. */
  #idle({ connection }: Client): void {
    this.#end(connection, this.#options.limits.idleMs);
    this.#intake.waitFor(connection);
  }

  #end(connection: Connection, ms: number): void {
    const timer = setTimeout(() => connection.destroy(), ms);
    connection.hold("deadline", () => clearTimeout(timer));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const client = this.#clients.get(request.socket);
    if (client?.state === "answered" && client.next === undefined) {
      client.next = () => void this.#serve(request, response);
      return;
    }
    // Who does not wait for an answer before the next request gets none.
    if (client?.state !== "idle") {
      request.socket.destroy();
      return;
    }
    client.state = "asked";
    const { connection, certificate } = client;
    const facts: { operation: Answered["operation"]; policy: string | undefined } = {
      operation: "other",
      policy: undefined,
    };
    let answer: Answer;
    let told = { result: "ok", message: "" };
    let mayStay = true;
    try {
      const data = await this.#handle(request, client, facts);
      answer = answerOf(data, this.#options.random(16));
    } catch (error) {
      const { code, message, ...rest } = toldOf(error);
      if (code === "internal") this.#options.log.error({ error }, "a request to the transit port failed");
      answer = refusalOf({ code, message, ...rest });
      told = { result: code, message };
      // Of a caller that is one, all of whose request was read, the connection goes on.
      mayStay = facts.policy !== undefined && request.complete;
    }
    const key = certificate?.key;
    this.#options.answered({ ...facts, ...told, peer: connection.peer, key });
    this.#answer(client, request, response, answer, mayStay);
  }

  /** @throws TransitError, Refusal, EvidenceError */
  async #handle(
    request: IncomingMessage,
    client: Client,
    facts: { operation: Answered["operation"]; policy: string | undefined },
  ): Promise<Output> {
    const { limits, random } = this.#options;
    const { method = "", url = "" } = request;
    // Strangers are refused before anything of their request is kept.
    const first = this.#callerNow(client);
    facts.policy = first.caller.policy;
    const operation = parseOperation(method, url);
    facts.operation = operation.kind;
    requireOwnKey(operation.key, first.caller);
    this.#enterWorkload(client, first.caller);
    this.#options.guard.active();
    const { connection } = client;
    this.#intake.waitFor(connection);
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new TransitError("request_too_slow", "request timed out")), limits.requestMs);
    connection.hold("deadline", () => clearTimeout(timer));
    const body = await Promise.race([readBody(request, BODY), late]);
    connection.leave("deadline");
    connection.work();
    const leave = await this.#turn(client);
    try {
      // What was in force when it began may not be any more.
      const { snapshot, caller, now } = this.#callerNow(client);
      const id = requireOwnKey(operation.key, caller);
      return perform(snapshot, id, caller.versions, parseInput(operation.kind, body), { now, random });
    } finally {
      setImmediate(leave);
    }
  }

  #callerNow({ certificate }: Client): { readonly snapshot: Snapshot; readonly caller: Caller; readonly now: Date } {
    const { guard, clock } = this.#options;
    const snapshot = guard.active();
    const now = clock.now(snapshot.manifest);
    const reserved = reservedName(snapshot.manifest);
    if (reserved !== undefined) {
      throw new TransitError("reserved_name", `the manifest in force has a SAN that is the Coordinator's: ${reserved}`);
    }
    return { snapshot, now, caller: callerOf(certificate, snapshot, now) };
  }

  /** A workload has a part of all places, from however many addresses it comes. */
  #enterWorkload(client: Client, { id = "" }: Caller): void {
    if (client.workload === id) return;
    const leave = this.#workloads.enter(id, () => undefined);
    if (leave === undefined) throw new TransitError("too_many_requests", "too many connections of this workload");
    client.workload = id;
    if (client.connection.transport.destroyed) leave();
    else client.connection.transport.once("close", leave);
  }

  /** Workloads take turns with each other, and with all else that the Coordinator does. */
  async #turn({ workload }: Client): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const leave = this.#options.turns.enter(`workload ${workload}`, () => resolve(undefined));
    if (leave === undefined) throw new TransitError("too_many_requests", "too much is asked at once");
    await promise;
    return leave;
  }

  #answer(client: Client, request: IncomingMessage, response: ServerResponse, answer: Answer, mayStay: boolean): void {
    const { connection, identity } = client;
    if (connection.transport.destroyed) return;
    const { status, body } = answer;
    const stays = mayStay && response.shouldKeepAlive && identity.basis === this.#identity.basis;
    this.#end(connection, this.#options.limits.requestMs);
    this.#intake.waitFor(connection);
    client.state = "answered";
    response.once("finish", () => {
      client.state = "idle";
      const { next } = client;
      client.next = undefined;
      if (!stays || identity.basis !== this.#identity.basis) client.tls.destroySoon();
      else if (next === undefined) this.#idle(client);
      else next();
    });
    response.writeHead(status, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "cache-control": "no-store",
      connection: stays ? "keep-alive" : "close",
      ...(status === 429 || status === 503 ? { "retry-after": "1" } : {}),
    });
    if (request.method === "HEAD" || request.complete) {
      response.end(body);
      return;
    }
    // It still sends: a reset could overtake the answer.
    response.write(body);
    setTimeout(() => response.end(), LINGER_MS);
  }

  #malformed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const client = this.#clients.get(socket);
    if (client?.state !== "idle" || !socket.writable || error.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    client.state = "asked";
    const { status, message, code } = toldOf(new TransitError("malformed_request", "no request of HTTP/1.1"));
    const { body } = refusalOf({ status, message, code });
    const key = client.certificate?.key;
    const { peer } = client.connection;
    this.#options.answered({ operation: "other", result: code, message, peer, key, policy: undefined });
    const head = [
      "HTTP/1.1 400 Bad Request",
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(body)}`,
      "connection: close",
    ];
    this.#end(client.connection, LINGER_MS);
    socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
  }
}
