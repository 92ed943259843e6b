import { backoff } from "../../runtime/backoff.ts";
import { quote } from "../../runtime/fault.ts";
import { readCacheFile, type Stored, writeCacheFile } from "./cache-files.ts";
import { EndorsementError } from "./error.ts";
import { type GetOptions, httpGet, type Network } from "./fetch.ts";
import { freshness, MOST_MS } from "./freshness.ts";
import { throughProxy } from "./proxy.ts";

/**
 * What vendors say, kept in memory and on disk. An answer is used without asking while it is fresh, and where the vendor
 * can't be reached, for as long as it says of itself that it is valid. It is never used longer. That a vendor has no answer
 * is remembered, too, for seconds at first and for minutes when it goes on: strangers can make a verifier ask, and must
 * not use up what the vendor grants to all.
 *
 * Nothing here is trusted: an answer is looked at only to see whether it is of the kind that was asked for.
 */

export interface EndorsementRequest {
  /** At the vendor. It is what the answer is kept under, wherever it comes from. */
  readonly url: URL;
  /** What it should be, for errors. */
  readonly what: string;
  /** The name of a header that is kept with the body. */
  readonly header?: string;
  /** Until when the answer itself says that it is valid. @throws where it is not what was asked for */
  readonly validUntil: (answer: Answer) => Date;
}

export interface Answer {
  readonly body: Buffer;
  readonly header: string | undefined;
}

/** With how old it is. */
export interface CachedAnswer extends Answer {
  /** Milliseconds since 1970. */
  readonly fetchedAt: number;
  /** By what the vendor says, milliseconds. */
  readonly freshFor: number;
}

export interface CacheUse {
  /** What is kept was superseded, as something else shows: the vendor is asked again, unless that was a moment ago. */
  readonly renew?: boolean;
  /** Somebody waits who can do without: the vendor is asked once, and not for long. */
  readonly hurry?: boolean;
}

export interface CacheOptions {
  readonly network: Network;
  /** Where to keep answers over a restart; undefined: nowhere. It is made if need be. */
  readonly directory: string | undefined;
  /** CONTRAST_COLLATERAL_PROXY. */
  readonly proxy: URL | undefined;
  /** Called for what went wrong and was made up for. */
  readonly onWarning: (message: string, url: URL, error: unknown) => void;
}

/** Times are milliseconds since 1970. */
interface Entry extends Stored {
  readonly validUntil: number;
  readonly askAgainAt: number;
}

/** A peer is waiting, and there is something to go on with: better that than to wait for a vendor that is down. */
const REFRESH: GetOptions = { tries: 1, deadline: 5000 };
const HOLD_OFF_MS = 5 * 60 * 1000;

/** What a vendor had no answer to. Times are milliseconds since 1970. */
interface Failure {
  readonly error: unknown;
  /** In a row. */
  readonly count: number;
  readonly failedAt: number;
  readonly askAgainAt: number;
}

/** After the first failure; it doubles up to the hold-off. */
const FIRST_HOLD_OFF_MS = 10_000;
const MOST_FAILURES = 256;

/** Of all bodies together, each of which counts as one block at least. */
const MAX_MEMORY = 16 * 1024 * 1024;
const BLOCK = 4096;

export class EndorsementCache {
  readonly #options: CacheOptions;
  /** By URL, in the order of their last use. */
  readonly #entries = new Map<string, Entry>();
  readonly #flights = new Map<string, Promise<Entry>>();
  /** By URL, in the order of their last failure. */
  readonly #failures = new Map<string, Failure>();
  #size = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  /** @throws EndorsementError */
  async get(request: EndorsementRequest, use: CacheUse = {}): Promise<CachedAnswer> {
    const { href } = request.url;
    const known = this.#entries.get(href);
    if (known !== undefined && this.#isGood(known, use)) {
      this.#remember(known);
      return known;
    }
    // Whoever comes while the vendor is being asked waits for the same answer.
    const flight = this.#flights.get(href) ?? this.#load(request, use).finally(() => this.#flights.delete(href));
    this.#flights.set(href, flight);
    return flight;
  }

  async #load(request: EndorsementRequest, use: CacheUse): Promise<Entry> {
    const known = this.#entries.get(request.url.href) ?? (await this.#read(request));
    if (known !== undefined && this.#isGood(known, use)) return this.#remember(known);
    const fallback = known !== undefined && known.validUntil > this.#now() ? known : undefined;
    const failure = this.#lastFailure(request.url.href);
    if (failure !== undefined) {
      if (fallback === undefined) throw failure.error;
      return this.#remember({ ...fallback, askAgainAt: Math.min(failure.askAgainAt, fallback.validUntil) });
    }
    try {
      const options = fallback !== undefined || use.hurry === true ? REFRESH : {};
      // A cache on the way has what was superseded, too (RFC 9111 §5.2.1.4).
      return await this.#ask(
        request,
        use.renew === true ? { ...options, headers: { "cache-control": "no-cache" } } : options,
      );
    } catch (error) {
      if (fallback === undefined) throw error;
      this.#options.onWarning(
        "the vendor can't be asked, what it said before is used while it is valid",
        request.url,
        error,
      );
      return this.#remember({ ...fallback, askAgainAt: Math.min(this.#now() + HOLD_OFF_MS, fallback.validUntil) });
    }
  }

  /** @returns undefined where the vendor may be asked */
  #lastFailure(href: string): Failure | undefined {
    const failure = this.#failures.get(href);
    const now = this.#now();
    return failure !== undefined && failure.failedAt <= now && now < failure.askAgainAt ? failure : undefined;
  }

  /** Asks the vendor, and remembers where it has no answer. */
  async #ask(request: EndorsementRequest, options: GetOptions): Promise<Entry> {
    const { href } = request.url;
    try {
      const entry = await this.#fetch(request, options);
      this.#failures.delete(href);
      return entry;
    } catch (error) {
      const count = (this.#failures.get(href)?.count ?? 0) + 1;
      const failedAt = this.#now();
      const wait = backoff(count, this.#options.network.random(), FIRST_HOLD_OFF_MS, HOLD_OFF_MS);
      this.#failures.delete(href);
      this.#failures.set(href, { error, count, failedAt, askAgainAt: failedAt + wait });
      const [oldest] = this.#failures.keys();
      if (this.#failures.size > MOST_FAILURES && oldest !== undefined) this.#failures.delete(oldest);
      throw error;
    }
  }

  async #fetch(request: EndorsementRequest, options: GetOptions): Promise<Entry> {
    const { network, proxy, directory, onWarning } = this.#options;
    const from = throughProxy(request.url, proxy);
    const { body, headers } = await httpGet(from, network, options);
    const header = request.header === undefined ? undefined : (headers.get(request.header) ?? undefined);
    const now = network.now();
    const stored = { url: request.url.href, body, header, fetchedAt: now.getTime(), freshFor: freshness(headers, now) };
    const entry = toEntry(stored, validUntil(request, stored, from));
    if (!(entry.validUntil > now.getTime())) throw expired(request, entry, from, now);
    if (directory !== undefined) {
      await writeCacheFile(directory, stored).catch((error: unknown) => {
        onWarning("an answer can't be kept on disk", request.url, error);
      });
    }
    return this.#remember(entry);
  }

  async #read(request: EndorsementRequest): Promise<Entry | undefined> {
    const { directory, onWarning } = this.#options;
    if (directory === undefined) return undefined;
    try {
      const stored = await readCacheFile(directory, request.url.href);
      return stored === undefined ? undefined : toEntry(stored, validUntil(request, stored, request.url));
    } catch (error) {
      onWarning("what was kept on disk can't be used", request.url, error);
      return undefined;
    }
  }

  #isGood({ fetchedAt, askAgainAt }: Entry, { renew = false }: CacheUse): boolean {
    const now = this.#now();
    // What was fetched in the future was fetched by another clock.
    return fetchedAt <= now && now < (renew ? Math.min(fetchedAt + HOLD_OFF_MS, askAgainAt) : askAgainAt);
  }

  #remember(entry: Entry): Entry {
    this.#forget(entry.url);
    this.#entries.set(entry.url, entry);
    this.#size += sizeOf(entry);
    for (const url of this.#entries.keys()) {
      if (this.#size <= MAX_MEMORY) break;
      this.#forget(url);
    }
    return entry;
  }

  #forget(url: string): void {
    const entry = this.#entries.get(url);
    if (entry === undefined) return;
    this.#entries.delete(url);
    this.#size -= sizeOf(entry);
  }

  #now(): number {
    return this.#options.network.now().getTime();
  }
}

function toEntry(stored: Stored, validUntil: number): Entry {
  const freshUntil = stored.fetchedAt + Math.min(stored.freshFor, MOST_MS);
  return { ...stored, validUntil, askAgainAt: Math.min(freshUntil, validUntil) };
}

function sizeOf({ body, header = "" }: Entry): number {
  return Math.max(body.length + header.length, BLOCK);
}

function validUntil({ what, validUntil }: EndorsementRequest, answer: Answer, from: URL): number {
  try {
    return validUntil(answer).getTime();
  } catch (cause) {
    throw new EndorsementError("malformed_endorsement", "the answer is not what was asked for", {
      where: from.href,
      got: `${answer.body.length} bytes: ${quote(cause instanceof Error ? cause.message : String(cause))}`,
      want: what,
      hint: "look at what stands between here and the vendor",
      cause,
    });
  }
}

function expired({ what }: EndorsementRequest, entry: Entry, from: URL, now: Date): EndorsementError {
  const until = new Date(entry.validUntil);
  return new EndorsementError("endorsement_expired", "the answer is not valid any more", {
    where: from.href,
    got: `${what}, valid until ${Number.isNaN(until.getTime()) ? "no time" : until.toISOString()}`,
    want: `one that is valid at ${now.toISOString()}`,
    hint: "check the clock, and whether a proxy hands out old copies",
  });
}
