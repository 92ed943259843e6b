import { readFile } from "node:fs/promises";
import { request as http, type IncomingMessage } from "node:http";
import { request as https } from "node:https";
import { text } from "node:stream/consumers";
import { z } from "zod";
import type { Condition } from "./condition.ts";

/** The part of `/api/list` that a voter needs. */
const ballot = z.array(z.object({ shortcode: z.string() })).nonempty();

const TIMEOUT_MS = 5000;

export interface VoterOptions {
  readonly random: () => number;
  readonly condition: Condition;
  /** TLS, for a web server whose certificate is of this CA and has this name; undefined: plain HTTP. */
  readonly tls?: { readonly caFile: string; readonly name: string } | undefined;
}

/** Votes for one emoji after the other through the web server. What fails is reported to `condition`, never thrown. */
export class Voter {
  readonly #origin: string;
  readonly #options: VoterOptions;
  #choices: readonly string[] = [];

  /** @param host host:port of the web server */
  constructor(host: string, options: VoterOptions) {
    this.#origin = `${options.tls === undefined ? "http" : "https"}://${host}`;
    this.#options = options;
  }

  async vote(stop: AbortSignal): Promise<void> {
    const { random, condition } = this.#options;
    try {
      if (this.#choices.length === 0) {
        const emoji = ballot.parse(JSON.parse(await this.#request("GET", "/api/list", stop)));
        this.#choices = emoji.map(({ shortcode }) => shortcode);
      }
      const choice = this.#choices[Math.floor(random() * this.#choices.length)] ?? "";
      await this.#request("POST", `/api/vote?choice=${encodeURIComponent(choice)}`, stop);
      condition.worked();
    } catch (error) {
      if (!stop.aborted) condition.failed(reasonOf(error));
    }
  }

  /** Over a connection of its own each time, so that new certificates count at once. */
  async #request(method: string, path: string, stop: AbortSignal): Promise<string> {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(TIMEOUT_MS)]);
    const { tls } = this.#options;
    const url = this.#origin + path;
    const options = { method, signal, agent: false };
    const request =
      tls === undefined
        ? http(url, options)
        : https(url, { ...options, ca: await readFile(tls.caFile), servername: tls.name });
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve).once("error", reject).end();
    });
    const body = await text(response);
    if (response.statusCode === 200) return body;
    throw new Error(`${method} ${path.split("?")[0]} gave HTTP status ${response.statusCode}`);
  }
}

/** Where several addresses were tried, there is only a code. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === "" && "code" in error ? String(error.code) : error.message;
}
