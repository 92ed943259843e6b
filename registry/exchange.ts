import type { Agent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { VERSION } from "../runtime/version.ts";
import { classify } from "./failure.ts";
import { ImageError } from "./problem.ts";

/**
 * One HTTP request and its whole answer, bounded in bytes and time. Nothing is followed and nothing is decoded.
 *
 * Not by fetch(): it does not tell a host that can't be reached from one that is silent, and its deadline for a
 * connection can't be set.
 */

export interface Question {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of the answer's body, bytes. */
  readonly most: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Milliseconds: until the TCP connection stands, and from then on until the last byte of the answer. */
export interface Deadlines {
  readonly connect: number;
  readonly answer: number;
}

/**
 * @param agent for the protocol of the URL
 * @throws ImageError, ConnectionLost, or the signal's reason
 */
export async function exchange(
  { method, url, headers, body, most }: Question,
  agent: Agent,
  deadlines: Deadlines,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  signal?.throwIfAborted();
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  const outgoing = request(url, {
    method,
    agent,
    headers: { "user-agent": `contrast/${VERSION}`, "accept-encoding": "identity", ...headers },
  });
  const { promise: head, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  outgoing.once("response", resolve);
  outgoing.on("error", reject);

  let isConnected = false;
  let gaveUp: Error | undefined;
  const giveUp = (reason: Error): void => {
    gaveUp = reason;
    // A request that waits for a proxy does not say that it is destroyed.
    reject(reason);
    outgoing.destroy();
  };
  const onAbort = (): void => giveUp(signal?.reason as Error);
  signal?.addEventListener("abort", onAbort);
  let timer = setTimeout(() => giveUp(outOfReach(url, deadlines)), deadlines.connect);
  onceConnected(outgoing, () => {
    isConnected = true;
    clearTimeout(timer);
    timer = setTimeout(() => giveUp(silent(url, deadlines)), deadlines.answer);
  });

  try {
    outgoing.end(body);
    const response = await head;
    const { statusCode: status = 0, headers } = response;
    return { status, headers, body: await readBody(response, most, url) };
  } catch (error) {
    outgoing.destroy();
    throw gaveUp ?? classify(error, url, isConnected);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

function onceConnected(outgoing: ClientRequest, listener: () => void): void {
  outgoing.once("socket", (socket) => {
    if (socket.connecting) socket.once("connect", listener);
    else listener();
  });
}

async function readBody(response: IncomingMessage, most: number, { host }: URL): Promise<Buffer> {
  // Asked for identity; what is compressed all the same could be of any length.
  const encoding = response.headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") throw ImageError.invalid(`a compressed answer of ${host}`, "one that is not compressed");
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > most) throw ImageError.invalid(`more than ${most} bytes from ${host}`, `at most ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function outOfReach({ host }: URL, { connect }: Deadlines): ImageError {
  return new ImageError(
    "unreachable",
    `no connection to ${host} in ${connect} ms`,
    "a connection",
    "look at the network and HTTPS_PROXY, or use --offline",
  );
}

function silent({ host }: URL, { answer }: Deadlines): ImageError {
  return new ImageError(
    "no_answer",
    `${host} takes the connection and gives no complete answer in ${answer} ms`,
    "an answer",
    "try again later, or use --offline",
  );
}
