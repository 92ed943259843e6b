import { backoff } from "../../runtime/backoff.ts";
import { EndorsementError } from "./error.ts";

/**
 * One GET, bounded in bytes, time and tries. Redirects are refused: no vendor makes any, and following one would let a
 * service, or whoever answers in its place, choose which hosts are asked from inside this network.
 */

/** Network, time and chance, which a program has and a library has not. */
export interface Network {
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
  readonly now: () => Date;
  /** Of 0 to 1, for the jitter. */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

export interface GetOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly tries?: number;
  /** For one try, up to the last byte of the body; milliseconds. */
  readonly deadline?: number;
}

export interface HttpAnswer {
  readonly body: Buffer;
  readonly headers: Headers;
}

/** Of a body, uncompressed. The longest ones, revocation lists, have some tens of kilobytes. */
export const MAX_BODY = 1024 * 1024;
const TRIES = 3;
const DEADLINE_MS = 10_000;
const MAX_RETRY_AFTER_MS = 30_000;
const FIRST_MS = 500;
const MOST_MS = 5000;

/** Why a try was in vain, where another one may help. */
interface Failure {
  readonly failure: string;
  /** What the service asked for, milliseconds. */
  readonly retryAfter?: number | undefined;
  readonly cause?: unknown;
}

/**
 * @param url without user name or password
 * @throws EndorsementError vendor_unreachable, vendor_refused, malformed_endorsement
 */
export async function httpGet(url: URL, network: Network, options: GetOptions = {}): Promise<HttpAnswer> {
  const { headers = {}, tries = TRIES, deadline = DEADLINE_MS } = options;
  for (let failures = 1; ; failures++) {
    const outcome = await attempt(url, network, headers, deadline);
    if ("body" in outcome) return outcome;
    const { failure, retryAfter = 0, cause } = outcome;
    // Who is asked to stay away for longer than a peer waits may as well say so now.
    if (failures === tries || retryAfter > MAX_RETRY_AFTER_MS) {
      throw new EndorsementError("vendor_unreachable", "the service gave no answer", {
        where: url.href,
        got: `${failure} at try ${failures}`,
        want: "status 200",
        hint: "look at the network and CONTRAST_COLLATERAL_PROXY, or try again later",
        cause,
      });
    }
    await network.sleep(retryAfter + backoff(failures, network.random(), FIRST_MS, MOST_MS));
  }
}

async function attempt(
  url: URL,
  { fetch, now }: Network,
  headers: Readonly<Record<string, string>>,
  deadline: number,
): Promise<HttpAnswer | Failure> {
  try {
    const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(deadline) });
    if (response.status === 200) return { body: await readBody(url, response), headers: response.headers };
    await response.body?.cancel();
    if (response.status === 429 || response.status >= 500) {
      return { failure: `status ${response.status}`, retryAfter: parseRetryAfter(response.headers, now()) };
    }
    throw new EndorsementError("vendor_refused", "the service does not have it", {
      where: url.href,
      got: `status ${response.status}`,
      want: "status 200",
      hint:
        response.status < 400
          ? "redirects are not followed: name the service's own address"
          : "it knows no such chip, platform or firmware version, or the address is wrong",
    });
  } catch (cause) {
    if (cause instanceof EndorsementError) throw cause;
    return { failure: describeFailure(cause, deadline), cause };
  }
}

/** The limit holds for what comes out of a compressed body, too: a small one may hide a large one. */
async function readBody(url: URL, { body }: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > MAX_BODY) {
      throw new EndorsementError("malformed_endorsement", "the answer is too long", {
        where: url.href,
        got: `more than ${MAX_BODY} bytes`,
        want: `at most ${MAX_BODY} bytes`,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Seconds, or a date (RFC 9110 §10.2.3). */
function parseRetryAfter(headers: Headers, now: Date): number | undefined {
  const text = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now.getTime();
  return ms > 0 ? ms : undefined;
}

function describeFailure(error: unknown, deadline: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return `no complete answer in ${deadline} ms`;
  // fetch() says "fetch failed", and the reason is its cause.
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
}
