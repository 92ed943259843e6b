import { MOST_ANSWER_BYTES, Problem } from "../api/http/answers.ts";
import { concat, toUtf8 } from "../bytes/encode.ts";
import { quote } from "../runtime/fault.ts";
import { VerifyError } from "./error.ts";

/**
 * Asks the HTTP API of one Coordinator, and believes nothing. What answers may be anybody: a body is read up to its bound
 * and no further, a redirect is followed nowhere, and all requests together have one deadline and one sum of bytes.
 */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface ClientOptions {
  /** `https://coordinator.example`, or below a path. */
  readonly url: string;
  readonly fetch: Fetch;
  /** Ends all of it. */
  readonly signal: AbortSignal;
}

/** Of all documents of a deployment: more than any history has that a Coordinator keeps in memory. */
export const MOST_BYTES = 64 * 2 ** 20;

export class Client {
  readonly #base: string;
  readonly #fetch: Fetch;
  readonly #signal: AbortSignal;
  #left = MOST_BYTES;

  constructor({ url, fetch, signal }: ClientOptions) {
    this.#base = baseOf(url);
    this.#fetch = fetch;
    this.#signal = signal;
  }

  /** @param more headers @returns the JSON of the answer @throws VerifyError */
  async post(path: string, body: unknown, more: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const headers = { ...more, "content-type": "application/json", accept: "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(body), cache: "no-store" as const };
    return this.#json(path, request, MOST_ANSWER_BYTES);
  }

  /** @returns the JSON of the answer @throws VerifyError */
  async getJson(path: string): Promise<unknown> {
    return this.#json(path, { headers: { accept: "application/json" }, cache: "no-store" }, MOST_BYTES);
  }

  /** @param most of its bytes @throws VerifyError */
  async getBytes(path: string, most: number): Promise<Uint8Array> {
    return this.#bytes(await this.#ask(path, {}), path, most);
  }

  async #json(path: string, request: RequestInit, most: number): Promise<unknown> {
    const response = await this.#ask(path, request);
    if (mediaTypeOf(response) !== "application/json") {
      await discard(response);
      throw notThisApi(path, shown(response), "application/json");
    }
    const text = toUtf8(await this.#bytes(response, path, most));
    const json = jsonOf(text);
    if (json === undefined) throw notThisApi(path, quote(text), "JSON");
    return json;
  }

  /** @throws VerifyError where it is no answer of the API to a request that it grants */
  async #ask(path: string, request: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await this.#fetch(`${this.#base}${path}`, {
        ...request,
        redirect: "manual",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: this.#signal,
      });
    } catch (cause) {
      throw this.#unreachable(path, cause);
    }
    if (response.status === 200) return response;
    // Browsers don't say where to.
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      const target = response.headers.get("location");
      await discard(response);
      throw new VerifyError("redirected", "what answers sends elsewhere, and that is not followed", {
        where: path,
        got: target === null ? "a redirect" : quote(target),
        want: "an answer at this address",
        hint: "give the address that it sends to, if that is meant",
      });
    }
    throw await this.#refused(response, path);
  }

  async #refused(response: Response, path: string): Promise<VerifyError> {
    if (mediaTypeOf(response) !== "application/problem+json") {
      await discard(response);
      return notThisApi(path, shown(response), "200, or a problem of the Coordinator's");
    }
    const bytes = await this.#bytes(response, path, MOST_PROBLEM_BYTES);
    const { data: problem } = Problem.safeParse(jsonOf(toUtf8(bytes)));
    if (problem === undefined) return notThisApi(path, shown(response), "a problem of the Coordinator's");
    const isTransient = response.status === 429 || response.status === 503;
    const message = isTransient ? "the Coordinator can't attest itself now" : "the Coordinator refuses the request";
    return new VerifyError(isTransient ? "not_ready" : "request_refused", `${message}: ${quote(problem.detail)}`, {
      where: path,
      // Whoever is in between may have made it up.
      got: `${response.status} ${quote(problem.code)}`,
      want: "200",
      hint: problem.hint === undefined ? undefined : quote(problem.hint),
      answered: problem.code,
      retryAfterMs: isTransient ? (problem.retryAfterMs ?? retryAfterOf(response)) : undefined,
    });
  }

  async #bytes(response: Response, path: string, most: number): Promise<Uint8Array> {
    const bound = Math.min(most, this.#left);
    const tooLarge = (): VerifyError =>
      new VerifyError("answer_too_large", "more bytes than a deployment has", {
        where: path,
        got: `more than ${bound} bytes`,
        want: `at most ${most} bytes of it, and ${MOST_BYTES} of all`,
      });
    const announced = Number(response.headers.get("content-length") ?? 0);
    if (announced > bound) {
      await discard(response);
      throw tooLarge();
    }
    const chunks: Uint8Array[] = [];
    let length = 0;
    try {
      const reader = response.body?.getReader();
      for (;;) {
        const { done = true, value } = (await reader?.read()) ?? {};
        if (done || value === undefined) break;
        length += value.length;
        if (length > bound) {
          await reader?.cancel();
          throw tooLarge();
        }
        chunks.push(value);
      }
    } catch (cause) {
      throw cause instanceof VerifyError ? cause : this.#unreachable(path, cause);
    }
    this.#left -= length;
    return concat(...chunks);
  }

  #unreachable(path: string, cause: unknown): VerifyError {
    const isLate = this.#signal.aborted;
    return new VerifyError("unreachable", isLate ? "there was no whole answer in time" : "there was no whole answer", {
      where: `${this.#base}${path}`,
      got: reasonOf(cause),
      want: "an answer of the Coordinator's HTTP API, port 1314",
      hint: "look at the address and the network; in a browser, at what the proxy before the Coordinator allows",
      cause,
    });
  }
}

/** Bytes of one. */
const MOST_PROBLEM_BYTES = 64 * 1024;

/** @throws VerifyError invalid_option */
function baseOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isOne =
    (parsed?.protocol === "https:" || parsed?.protocol === "http:") &&
    parsed.username + parsed.password + parsed.search + parsed.hash === "";
  if (isOne) return parsed.href.replace(/\/+$/, "");
  throw new VerifyError("invalid_option", "this is no address of a Coordinator", {
    where: "url",
    got: quote(url),
    want: "https://<host>, or http://; without user, query and fragment",
  });
}

function mediaTypeOf({ headers }: Response): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

function shown(response: Response): string {
  return `${response.status}, ${quote(mediaTypeOf(response)) || "no type"}`;
}

function retryAfterOf({ headers }: Response): number | undefined {
  const seconds = headers.get("retry-after") ?? "";
  return /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : undefined;
}

/** Nobody reads it, and it must not keep its connection. */
async function discard({ body }: Response): Promise<void> {
  await body?.cancel().catch(() => undefined);
}

/** @returns undefined where it is no JSON */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function notThisApi(path: string, got: string, want: string): VerifyError {
  return new VerifyError("unexpected_answer", "what answers does not speak the Coordinator's HTTP API", {
    where: path,
    got,
    want,
    hint: "look at the address, and at the proxies before the Coordinator",
  });
}

/** Undici puts what happened into the cause of `fetch failed`. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message !== "" ? `${error.message}: ${cause.message}` : error.message;
}
