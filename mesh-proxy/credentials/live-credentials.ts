import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../../runtime/log.ts";
import { Secret } from "../../runtime/secret.ts";
import { SerialQueue } from "../../runtime/serial-queue.ts";
import { type Credentials, fingerprint, loadCredentials, type TryOut, withoutEnded } from "./credentials.ts";
import type { CredentialsInUse, CurrentCredentials } from "./current-credentials.ts";
import { MeshProxyError } from "../faults.ts";

/**
 * The certificate set in use. It follows the files: as soon as they are another set that is whole, that set is the
 * current one, for every connection from then on. A set that is broken or does not fit together changes nothing.
 *
 * The files are looked at from time to time, because every other way misses some change: inotify sees neither what
 * lies behind a link of another folder nor what another node writes to a shared volume.
 */

/** Between two looks at the files. They are read when two looks in a row found the same change: it is over then. */
const INTERVAL_MS = 1_000;

/** How often files are read again that change while they are read, until the next look. */
const TRIES = 5;

/** How long the keys of tickets are in use. They are nowhere but in memory, and nobody can read a ticket when they are gone. */
export const TICKET_KEY_LIFETIME_MS = 3_600_000;

export class LiveCredentials implements CurrentCredentials {
  readonly #folder: string;
  readonly #log: Logger;
  /** Of the files that `current` was read from, or that were refused since. */
  #judged: string;
  /** One change after the other, so that the last one that was asked for decides. */
  readonly #queue = new SerialQueue();
  readonly #users: ((credentials: CredentialsInUse) => void)[] = [];
  #current: CredentialsInUse;
  #failures = 0;

  readonly #now: () => Date;
  readonly #tryOut: TryOut | undefined;

  private constructor(
    { folder, log, now, tryOut }: { folder: string; log: Logger; now: () => Date; tryOut: TryOut | undefined },
    current: Credentials,
    judged: string,
  ) {
    this.#now = now;
    this.#tryOut = tryOut;
    this.#current = withTicketSecret(current);
    this.#folder = folder;
    this.#log = log;
    this.#judged = judged;
    setInterval(() => this.#use(this.#current), TICKET_KEY_LIFETIME_MS).unref();
  }

  /**
   * @param tryOut of a set before it is used; what users refuse by themselves needs none
   * @throws MeshProxyError `certificates`
   */
  static async open(folder: string, log: Logger, now: () => Date, tryOut?: TryOut): Promise<LiveCredentials> {
    const { judged, outcome } = await consistently(folder, now, tryOut);
    if (outcome instanceof MeshProxyError) throw outcome;
    return new LiveCredentials({ folder, log, now, tryOut }, outcome, judged);
  }

  get current(): CredentialsInUse {
    return this.#current;
  }

  onChange(use: (credentials: CredentialsInUse) => void): void {
    this.#users.push(use);
  }

  /** How many changes of the files were no set that could be used. */
  get failures(): number {
    return this.#failures;
  }

  /** Follows the files until `stop` fires. */
  async follow(stop: AbortSignal): Promise<void> {
    let seen = this.#judged;
    while (!stop.aborted) {
      await sleep(INTERVAL_MS, undefined, { ref: false, signal: stop }).catch(() => {});
      const now = await fingerprint(this.#folder);
      if (now !== this.#judged && now === seen) await this.reload();
      seen = now;
      const { trustEnds } = this.#current;
      if (trustEnds !== undefined && trustEnds <= this.#now()) await this.#endTrust();
    }
  }

  /** Reads the files now. It never throws: what is wrong with them stands in the log. */
  async reload(): Promise<void> {
    return this.#queue.run(async () => this.#load());
  }

  /**
   * A mesh CA of before ends, although nobody took it out of the file; where the files can't be read any more, too. One for
   * which only that CA stands is of no use then, but no reason to trust it for longer.
   */
  async #endTrust(): Promise<void> {
    return this.#queue.run(async () => {
      const current = withoutEnded(this.#current, this.#now());
      if (current === this.#current) return;
      this.#use(current);
      this.#log.info("a mesh CA of before is trusted no more");
    });
  }

  async #load(): Promise<void> {
    const { judged, outcome } = await consistently(this.#folder, this.#now, this.#tryOut);
    this.#judged = judged;
    if (outcome instanceof MeshProxyError) return this.#refuse(outcome);
    if (isSame(outcome, this.#current)) return;
    try {
      this.#use(outcome);
    } catch (error) {
      if (error instanceof MeshProxyError) return this.#refuse(error);
      throw error;
    }
    this.#log.info({ notAfter: outcome.notAfter.toISOString() }, "new certificates are in use");
  }

  #refuse({ code, message, where, got, want, hint }: MeshProxyError): void {
    this.#failures++;
    this.#log.error({ code, where, got, want, hint }, `the previous certificates stay in use: ${message}`);
  }

  /** With other keys for tickets: what was resumable is so no more. */
  #use(credentials: Credentials): void {
    const current = withTicketSecret(credentials);
    for (const use of this.#users) use(current);
    this.#current = current;
  }
}

function withTicketSecret(credentials: Credentials): CredentialsInUse {
  return { ...credentials, ticketSecret: new Secret(randomBytes(32)) };
}

/** A set of which no file changed between the first and the last one that was read, or why there is none. */
async function consistently(
  folder: string,
  now: () => Date,
  tryOut: TryOut | undefined,
): Promise<{ judged: string; outcome: Credentials | MeshProxyError }> {
  for (let tries = 1; ; tries++) {
    const before = await fingerprint(folder);
    const outcome = await loadCredentials(folder, now(), tryOut).catch((error: unknown) => {
      if (error instanceof MeshProxyError) return error;
      throw error;
    });
    const judged = await fingerprint(folder);
    if (judged === before) return { judged, outcome };
    if (tries === TRIES) {
      const error = new MeshProxyError("certificates", "the files of the TLS configuration don't stop changing", {
        where: folder,
        hint: "something other than the Initializer writes to the folder",
      });
      // Nothing was judged: the next look may find that it is over.
      return { judged: "", outcome: error };
    }
  }
}

function isSame(one: Credentials, other: Credentials): boolean {
  const isSameKey = one.key.reveal().equals(other.key.reveal());
  return isSameKey && one.certChain === other.certChain && one.meshCa === other.meshCa;
}
