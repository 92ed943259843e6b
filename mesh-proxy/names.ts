import dns, { type LookupAddress } from "node:dns";
import { isIP } from "node:net";

/**
 * Names to addresses, asked anew for each connection: a service that moved is found at once. While DNS fails, or does not
 * answer, what it said last is good for another minute. DNS is not trusted with more than that: whoever answers at the
 * address has to prove itself.
 */

/** All addresses of a name, the best first (RFC 6724). */
export type Lookup = (host: string) => Promise<readonly LookupAddress[]>;

/** What the system is set up to ask: /etc/hosts, then DNS. */
export const systemLookup: Lookup = async (host) => {
  const { promise, resolve, reject } = Promise.withResolvers<readonly LookupAddress[]>();
  dns.lookup(host, { all: true, order: "verbatim" }, (error, addresses) => {
    if (error === null) resolve(addresses);
    else reject(error);
  });
  return promise;
};

const LAST_ANSWER_MS = 60_000;

/** How long DNS may take where there is a last answer: less than a connection may take to be made. */
const PATIENCE_MS = 2_000;

interface Answer {
  readonly addresses: readonly LookupAddress[];
  readonly at: number;
}

export class Names {
  readonly #lookup: Lookup;
  readonly #now: () => Date;
  readonly #last = new Map<string, Answer>();
  /** Of each name one at a time: lookups that hang must not take up all threads of the process. */
  readonly #pending = new Map<string, Promise<readonly LookupAddress[]>>();

  constructor(lookup: Lookup, now: () => Date) {
    this.#lookup = lookup;
    this.#now = now;
  }

  /**
   * @param host of the configuration, so that there are not many of them
   * @throws what the lookup throws
   */
  async addresses(host: string): Promise<readonly LookupAddress[]> {
    const family = isIP(host);
    if (family !== 0) return [{ address: host, family }];
    const answer = this.#ask(host);
    const last = this.#last.get(host);
    if (last === undefined || this.#now().getTime() - last.at > LAST_ANSWER_MS) return answer;
    return orElse(answer, last.addresses);
  }

  async #ask(host: string): Promise<readonly LookupAddress[]> {
    const pending = this.#pending.get(host);
    if (pending !== undefined) return pending;
    const answer = this.#lookup(host)
      .then((addresses) => {
        this.#last.set(host, { addresses, at: this.#now().getTime() });
        return addresses;
      })
      .finally(() => this.#pending.delete(host));
    this.#pending.set(host, answer);
    return answer;
  }
}

async function orElse<T>(answer: Promise<T>, fallback: T): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  const timer = setTimeout(() => resolve(fallback), PATIENCE_MS);
  answer.then(resolve, () => resolve(fallback));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
