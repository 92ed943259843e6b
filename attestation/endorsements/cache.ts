import { quote } from "../../runtime/environment.ts";
import { readCacheFile, type Stored, writeCacheFile } from "./cache-files.ts";
import { EndorsementError } from "./error.ts";
import { type GetOptions, httpGet, type Network } from "./fetch.ts";
import { freshness, MOST_MS } from "./freshness.ts";
import { throughProxy } from "./proxy.ts";

/**
 * What vendors say, kept in memory and on disk. An answer is used without asking while it is fresh, and where the vendor
 * can't be reached, for as long as it says of itself that it is valid. It is never used longer.
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

/** Of all bodies together, each of which counts as one block at least. */
const MAX_MEMORY = 16 * 1024 * 1024;
const BLOCK = 4096;

export class EndorsementCache {
  readonly #options: CacheOptions;
  /** By URL, in the order of their last use. */
  readonly #entries = new Map<string, Entry>();
  readonly #flights = new Map<string, Promise<Entry>>();
  #size = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  /** @throws EndorsementError */
  async get(request: EndorsementRequest): Promise<Answer> {
    const { href } = request.url;
    const known = this.#entries.get(href);
    if (known !== undefined && this.#isFresh(known)) {
      this.#remember(known);
      return known;
    }
    // Whoever comes while the vendor is being asked waits for the same answer.
    const flight = this.#flights.get(href) ?? this.#load(request).finally(() => this.#flights.delete(href));
    this.#flights.set(href, flight);
    return flight;
  }

  async #load(request: EndorsementRequest): Promise<Entry> {
    const known = this.#entries.get(request.url.href) ?? (await this.#read(request));
    if (known !== undefined && this.#isFresh(known)) return this.#remember(known);
    if (known === undefined || !(known.validUntil > this.#now())) return this.#fetch(request);
    try {
      return await this.#fetch(request, REFRESH);
    } catch (error) {
      this.#options.onWarning(
        "the vendor can't be asked, what it said before is used while it is valid",
        request.url,
        error,
      );
      return this.#remember({ ...known, askAgainAt: Math.min(this.#now() + HOLD_OFF_MS, known.validUntil) });
    }
  }

  async #fetch(request: EndorsementRequest, options: GetOptions = {}): Promise<Entry> {
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

  #isFresh({ fetchedAt, askAgainAt }: Entry): boolean {
    const now = this.#now();
    // What was fetched in the future was fetched by another clock.
    return fetchedAt <= now && now < askAgainAt;
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
