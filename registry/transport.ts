import { Agent } from "node:http";
import { backoff } from "../runtime/backoff.ts";
import type { Environment } from "../runtime/environment.ts";
import { type Answer, type Deadlines, exchange, type Question } from "./exchange.ts";
import { ConnectionLost } from "./failure.ts";
import { ProxiedAgent } from "./https-agent.ts";
import { ImageError, type ImageProblemKind } from "./problem.ts";
import { unexpectedStatus } from "./status.ts";

/**
 * Requests to all hosts of a run, with some patience for each: a connection that was lost is made once more, and a host
 * that is busy is asked again. One that was out of reach, silent, or busy to the end is not asked again in this run, or
 * a hundred images would take a hundred deadlines.
 */

/** Network, time and chance, which a program has and a library has not. */
export interface Network {
  readonly now: () => Date;
  /** Of 0 to 1, for the jitter. */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
  /** Where HTTPS_PROXY and NO_PROXY are looked up. */
  readonly environment: Environment;
  readonly deadlines?: Deadlines;
}

const DEADLINES: Deadlines = { connect: 5000, answer: 20_000 };
const TRIES = 3;
const MAX_RETRY_AFTER_MS = 30_000;
/** RFC 6585 §4, RFC 9110 §15.6: these pass. */
const PASSING: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** What holds for a host as a whole. */
const OF_THE_HOST: ReadonlySet<ImageProblemKind> = new Set<ImageProblemKind>(["unreachable", "no_answer", "busy"]);

export class Transport {
  readonly #network: Network;
  readonly #signal: AbortSignal | undefined;
  /** Plain HTTP leads to this machine, never to a proxy. */
  readonly #http = new Agent({ keepAlive: true });
  #https: ProxiedAgent | undefined;
  /** By origin. */
  readonly #givenUp = new Map<string, ImageError>();

  constructor(network: Network, signal: AbortSignal | undefined) {
    this.#network = network;
    this.#signal = signal;
  }

  /** @throws ImageError, or the signal's reason */
  async send(question: Question): Promise<Answer> {
    try {
      return await this.#patiently(question);
    } catch (error) {
      if (error instanceof ImageError && OF_THE_HOST.has(error.code)) this.#givenUp.set(question.url.origin, error);
      throw error;
    }
  }

  close(): void {
    this.#http.destroy();
    this.#https?.destroy();
  }

  async #patiently(question: Question): Promise<Answer> {
    const { now, random, sleep } = this.#network;
    for (let tries = 1; ; tries++) {
      const answer = await this.#twice(question);
      if (!PASSING.has(answer.status)) return answer;
      const retryAfter = retryAfterMs(answer.headers["retry-after"] ?? "", now());
      // Nobody waits that long at a terminal: better to say so now.
      if (tries === TRIES || retryAfter > MAX_RETRY_AFTER_MS) throw unexpectedStatus(question.url, answer.status);
      await sleep(retryAfter + backoff(tries, random()));
    }
  }

  /** A server may close an idle connection just when it is used again. */
  async #twice(question: Question): Promise<Answer> {
    try {
      return await this.#once(question);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
    }
    try {
      return await this.#once(question);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      const got = `${question.url.host} closes the connection before its answer is complete`;
      throw ImageError.invalid(got, "a complete answer");
    }
  }

  async #once(question: Question): Promise<Answer> {
    const givenUp = this.#givenUp.get(question.url.origin);
    if (givenUp !== undefined) throw givenUp;
    const { deadlines = DEADLINES } = this.#network;
    return exchange(question, this.#agentFor(question.url), deadlines, this.#signal);
  }

  #agentFor({ protocol }: URL): Agent {
    if (protocol === "http:") return this.#http;
    try {
      return (this.#https ??= new ProxiedAgent(this.#network.environment));
    } catch {
      throw new ImageError("unreachable", "HTTPS_PROXY is no URL", "http://HOST:PORT", "correct HTTPS_PROXY");
    }
  }
}

/** Seconds, or a date (RFC 9110 §10.2.3). */
function retryAfterMs(text: string, now: Date): number {
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now.getTime();
  return ms > 0 ? ms : 0;
}
