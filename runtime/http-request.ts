import type { Socket } from "node:net";

/**
 * As much of HTTP (RFC 9112) as probes and Prometheus need: one request on a connection, of which the first line counts. A
 * server for the web would read on, and answer as many as come in one piece, before it learns that nobody reads the answers.
 */
export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
}

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  500: "Internal Server Error",
  503: "Service Unavailable",
} as const;

export interface HttpResponse {
  readonly status: keyof typeof REASONS;
  /** Without: plain text. */
  readonly type?: string;
  readonly text: string;
}

/**
 * @param mostBytes of the head
 * @returns undefined: more has to come; "malformed": it is no request, or too long a one
 */
export function readRequest(bytes: Buffer, mostBytes: number): HttpRequest | "malformed" | undefined {
  const head = bytes.subarray(0, mostBytes).toString("latin1");
  const [line = "", ...others] = head.split("\r\n");
  if (others.length > 0) {
    const request = parse(line);
    if (request === undefined) return "malformed";
    if (head.includes("\r\n\r\n")) return request;
  }
  // What may yet become one begins with a method.
  return bytes.length >= mostBytes || !/^[A-Z]*( |$)/.test(line) ? "malformed" : undefined;
}

function parse(line: string): HttpRequest | undefined {
  const [, method, target] = /^([A-Z]{1,16}) ([!-~]{1,2048}) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method === undefined || target === undefined) return undefined;
  // The absolute form is for proxies, and every server has to take it.
  const [path = ""] = target.replace(/^http:\/\/[^/?]*/i, "").split("?");
  if (path === "") return { method, path: "/" };
  return path.startsWith("/") ? { method, path } : undefined;
}

/** @param method of the request: HEAD gets no content */
export function printResponse(
  { status, type = "text/plain; charset=utf-8", text }: HttpResponse,
  method: string,
): string {
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `content-type: ${type}`,
    `content-length: ${Buffer.byteLength(text)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${method === "HEAD" ? "" : text}`;
}

/** Bytes behind a request. */
const MOST_BEHIND = 256 * 1024;

/** A head in more pieces comes from nobody. */
const MOST_PIECES = 512;

export interface AnswerOptions {
  /** What was read already. */
  readonly seen?: Buffer;
  /** Of the head of a request: it has a path, and what a client says of itself. */
  readonly mostBytes: number;
  readonly answer: (request: HttpRequest) => Promise<HttpResponse>;
  /** Is told why, once. */
  readonly refused: (reason: string) => void;
}

/**
 * Reads one request and answers it; then the connection ends. How long it may take is up to whoever accepted it.
 *
 * @param socket half open: a peer that has sent its request and says so still waits for the answer
 */
export function answerOne(socket: Socket, { seen, mostBytes, answer, refused }: AnswerOptions): void {
  let head = seen ?? Buffer.alloc(0);
  let pieces = 0;
  const stop = (): void => {
    socket.off("readable", look);
    socket.off("end", cut);
  };
  const refuse = (reason: string): void => {
    stop();
    refused(reason);
    finish(socket, printResponse({ status: 400, text: `${reason}\n` }, ""));
  };
  const decide = (): void => {
    const request = readRequest(head, mostBytes);
    if (request === undefined && pieces < MOST_PIECES) return;
    if (request === undefined || request === "malformed") return refuse("no request of HTTP/1.1, or too long a one");
    stop();
    void answer(request).then((response) => finish(socket, printResponse(response, request.method)));
  };
  const look = (): void => {
    const piece = socket.read() as Buffer | null;
    if (piece === null) return;
    pieces += 1;
    head = Buffer.concat([head, piece]);
    decide();
  };
  const cut = (): void => {
    if (head.length > 0) return refuse("the request ends too early");
    // It connected to see whether somebody listens.
    stop();
    socket.end();
  };
  socket.on("readable", look);
  socket.on("end", cut);
  decide();
}

function finish(socket: Socket, response: string): void {
  if (socket.destroyed) return;
  socket.end(response, () => {
    // A little of what it still sends is thrown away: a reset could overtake the answer.
    let bytes = 0;
    socket.on("data", ({ length }: Buffer) => {
      bytes += length;
      if (bytes > MOST_BEHIND) socket.destroy();
    });
  });
}
