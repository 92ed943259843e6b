import { readFile } from "node:fs/promises";
import { Agent as PlainAgent, type IncomingMessage, request as requestPlain, type RequestOptions } from "node:http";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { CodedError } from "../../runtime/errors.ts";
import { quote } from "../../runtime/fault.ts";

/**
 * Calls the API server of Kubernetes, over HTTP/1.1 with kept-alive connections. Nothing that it answers is trusted to be
 * of any size, to come in time, or to be JSON.
 */

/** Where every pod has its service account (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/). */
export const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * - `account`: the folder with `token` and `ca.crt`, which are read for every call: both change while the pod runs
 * - `socket`: the Unix socket of a `kubectl proxy`, which says who asks
 */
export type ApiPlace =
  { readonly host: string; readonly port: string; readonly account: string } | { readonly socket: string };

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With the query. */
  readonly path: string;
  readonly body?: unknown;
  /** Default: `application/json`; of a PATCH `application/merge-patch+json`. */
  readonly accept?: string;
}

export interface ApiAnswer {
  readonly status: number;
  /** From JSON. */
  readonly body: unknown;
  /** From the header Retry-After, in seconds there. */
  readonly retryAfterMs: number | undefined;
}

/**
 * A call without an answer. Who calls says what that means to people.
 *
 * - `unreachable`: no connection, a broken one, or no whole answer in time; the request may have been carried out
 * - `not_an_answer`: what came is too large, or is not JSON
 * - `no_account`: the folder of the service account can't be read
 */
export class ApiError extends Error {
  readonly kind: "unreachable" | "not_an_answer" | "no_account";

  constructor(kind: ApiError["kind"], message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

export interface ApiOptions {
  /** For a whole call, in milliseconds. */
  readonly timeoutMs: number;
  /** Of an answer. */
  readonly maxBytes: number;
}

/** What an answer says to people, an object of kind Status. */
export function messageOf({ body }: Pick<ApiAnswer, "body">): string {
  const { message } = (body ?? {}) as { message?: unknown };
  return typeof message === "string" ? message : "";
}

const CONNECTIONS = { keepAlive: true, maxSockets: 16, maxFreeSockets: 4 };

export class ApiClient {
  readonly #place: ApiPlace;
  readonly #options: ApiOptions;
  readonly #agent: Agent | PlainAgent;

  constructor(place: ApiPlace, options: ApiOptions) {
    this.#place = place;
    this.#options = options;
    this.#agent = "socket" in place ? new PlainAgent(CONNECTIONS) : new Agent(CONNECTIONS);
  }

  /** @throws ApiError */
  async call(asked: ApiRequest): Promise<ApiAnswer> {
    const signal = AbortSignal.timeout(this.#options.timeoutMs);
    try {
      return await this.#once(asked, signal);
    } catch (error) {
      // The server may close a kept connection just when it is used again.
      if (!(error instanceof ClosedBefore)) throw error;
      return this.#once(asked, signal);
    }
  }

  /**
   * An answer without an end, line by line, until it ends or the signal fires.
   *
   * @param onLine is waited for
   * @throws ApiError
   */
  async stream(path: string, signal: AbortSignal, onLine: (line: unknown) => Promise<void>): Promise<ApiAnswer> {
    const response = await this.#send({ method: "GET", path }, signal);
    const status = response.statusCode ?? 0;
    if (status !== 200) return { status, body: parse(await this.#read(response, signal)), ...retryOf(response) };
    let rest = Buffer.alloc(0);
    try {
      for await (const chunk of response) {
        rest = Buffer.concat([rest, chunk as Buffer]);
        for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
          const line = rest.subarray(0, end);
          rest = rest.subarray(end + 1);
          await onLine(parse(line));
        }
        if (rest.length > this.#options.maxBytes) throw tooLarge(this.#options.maxBytes);
      }
    } catch (error) {
      throw asApiError(error, signal);
    } finally {
      response.destroy();
    }
    return { status, body: undefined, retryAfterMs: undefined };
  }

  close(): void {
    this.#agent.destroy();
  }

  async #once(asked: ApiRequest, signal: AbortSignal): Promise<ApiAnswer> {
    const response = await this.#send(asked, signal);
    const bytes = await this.#read(response, signal);
    return { status: response.statusCode ?? 0, body: parse(bytes), ...retryOf(response) };
  }

  async #send(asked: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { method, path, body, accept = "application/json" } = asked;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const headers = {
      accept,
      ...(text !== undefined && { "content-type": type, "content-length": Buffer.byteLength(text) }),
    };
    const options: RequestOptions = { method, path, agent: this.#agent, signal };
    const place = this.#place;
    const { token = "", ca = "" } = "socket" in place ? {} : await readAccount(place.account);
    const sent =
      "socket" in place
        ? requestPlain({ ...options, headers, socketPath: place.socket })
        : request({
            ...options,
            headers: { ...headers, authorization: `Bearer ${token}` },
            host: place.host,
            port: place.port,
            ca,
          });
    return new Promise((resolve, reject) => {
      sent.on("response", resolve);
      sent.on("error", (error: NodeJS.ErrnoException) => {
        const closed = sent.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
        reject(closed && !signal.aborted && method !== "PUT" ? new ClosedBefore(error) : asApiError(error, signal));
      });
      sent.end(text);
    });
  }

  async #read(response: IncomingMessage, signal: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of response) {
        length += (chunk as Buffer).length;
        if (length > this.#options.maxBytes) throw tooLarge(this.#options.maxBytes);
        chunks.push(chunk as Buffer);
      }
    } catch (error) {
      response.destroy();
      throw asApiError(error, signal);
    }
    return Buffer.concat(chunks);
  }
}

/** A connection that was kept ended before it answered. A PUT is never sent twice: it is a compare-and-swap. */
class ClosedBefore extends ApiError {
  constructor(cause: unknown) {
    super("unreachable", "the API server closed the connection", cause);
  }
}

async function readAccount(folder: string): Promise<{ token: string; ca: string }> {
  try {
    const [token = "", ca = ""] = await Promise.all(
      ["token", "ca.crt"].map((name) => readFile(join(folder, name), "utf8")),
    );
    // A header takes no other characters, and tokens have none (RFC 6750).
    if (!/^[\w.~+/=-]+\s*$/.test(token)) throw new Error("malformed");
    return { token: token.trim(), ca };
  } catch (cause) {
    const { code = "malformed" } = cause as NodeJS.ErrnoException;
    throw new ApiError("no_account", `the pod's service account can't be read, ${code} in ${folder}`, cause);
  }
}

function parse(bytes: Buffer): unknown {
  try {
    return bytes.length === 0 ? undefined : JSON.parse(bytes.toString());
  } catch (cause) {
    const got = quote(bytes.toString("utf8", 0, 100));
    throw new ApiError("not_an_answer", `the answer is not JSON, ${got}`, cause);
  }
}

function tooLarge(maxBytes: number): ApiError {
  return new ApiError("not_an_answer", `the answer is too large, more than ${maxBytes} bytes`);
}

function asApiError(error: unknown, signal: AbortSignal): Error {
  // Also what somebody threw who was given a line.
  if (error instanceof ApiError || error instanceof CodedError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const got = signal.aborted ? "no whole answer in time" : (code ?? message);
  return new ApiError("unreachable", `the API server did not answer, ${got}`, error);
}

function retryOf({ headers }: IncomingMessage): Pick<ApiAnswer, "retryAfterMs"> {
  const text = headers["retry-after"] ?? "";
  return { retryAfterMs: /^\d{1,6}$/.test(text) ? Number(text) * 1000 : undefined };
}
