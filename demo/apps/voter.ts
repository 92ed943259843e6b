import { z } from "zod";
import type { Condition } from "./condition.ts";

/** The part of `/api/list` that a voter needs. */
const ballot = z.array(z.object({ shortcode: z.string() })).nonempty();

const TIMEOUT_MS = 5000;

/** Votes for one emoji after the other through the web server. What fails is reported to `condition`, never thrown. */
export class Voter {
  readonly #origin: string;
  readonly #random: () => number;
  readonly #condition: Condition;
  #choices: readonly string[] = [];

  /** @param host host:port of the web server, which speaks plain HTTP */
  constructor(host: string, options: { readonly random: () => number; readonly condition: Condition }) {
    this.#origin = `http://${host}`;
    this.#random = options.random;
    this.#condition = options.condition;
  }

  async vote(stop: AbortSignal): Promise<void> {
    try {
      if (this.#choices.length === 0) {
        const emoji = ballot.parse(await (await this.#request("GET", "/api/list", stop)).json());
        this.#choices = emoji.map(({ shortcode }) => shortcode);
      }
      const choice = this.#choices[Math.floor(this.#random() * this.#choices.length)] ?? "";
      const response = await this.#request("POST", `/api/vote?choice=${encodeURIComponent(choice)}`, stop);
      await response.body?.cancel();
      this.#condition.worked();
    } catch (error) {
      if (!stop.aborted) this.#condition.failed(reasonOf(error));
    }
  }

  async #request(method: string, path: string, stop: AbortSignal): Promise<Response> {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(TIMEOUT_MS)]);
    const response = await fetch(this.#origin + path, { method, signal });
    if (response.ok) return response;
    await response.body?.cancel();
    throw new Error(`${method} ${path.split("?")[0]} gave HTTP status ${response.status}`);
  }
}

/** Fetch hides what went wrong with a connection in the cause, and has only a code where it tried several addresses. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return cause.message === "" && "code" in cause ? String(cause.code) : cause.message;
}
