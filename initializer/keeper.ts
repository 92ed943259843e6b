import type { Logger } from "../runtime/log.ts";
import { CodedError, describeError } from "../runtime/errors.ts";
import type { InForce } from "./enroll.ts";
import { isTransient, requestedWait } from "./persist.ts";
import type { PublishedFile } from "./publish.ts";
import {
  canWait,
  endOf,
  type Instant,
  instantAt,
  isOver,
  laterBy,
  msUntil,
  renewalOf,
  trustedCount,
} from "./renewal.ts";
import { Retry } from "./retry.ts";

/**
 * Keeps the certificates of a pod good while it runs, and its secrets up to date. It renews them long before they expire, and
 * when the Coordinator has another mesh CA, or another annex. Where a mesh CA has to settle first, the pod trusts it at
 * once, and shows its new certificate when all others had the time to do so, too. What can't be renewed stays as it is; that
 * it is no good any more is said loudly.
 */

/** What a Coordinator gave. PEM. */
export interface Issued {
  readonly certChain: string;
  readonly meshCa: string;
  /** The mesh CAs of before that are still trusted, the latest first. */
  readonly previous: readonly string[];
  /** As `InForce` has it. */
  readonly annex: string;
  /** Those of the annex, by name and version, for people: `db@3`. */
  readonly secrets: readonly string[];
  /** How long until peers trust `meshCa`, in milliseconds. */
  readonly settleMs: number;
  /** The files of the set. @param previous of the field of this name, those that are to be trusted */
  readonly files: (previous: readonly string[]) => readonly PublishedFile[];
  /** Overwrites secrets, as far as they are bytes: nobody asks for the files again. */
  readonly forget: () => void;
}

export interface KeeperOptions {
  /** One try. @throws ChannelError, RemoteError, RenewalError, and whatever the TEE refuses */
  readonly enroll: () => Promise<Issued>;
  /** @throws ChannelError, RemoteError */
  readonly askInForce: () => Promise<InForce>;
  /** @throws the system's error; the files before are then still the published ones */
  readonly publish: (files: readonly PublishedFile[]) => Promise<void>;
  readonly now: () => Instant;
  /** Of 0 to 1. */
  readonly random: () => number;
  readonly log: Logger;
}

/** Between two questions whether mesh CA or annex are others, in milliseconds, and a fifth more or less. */
const ASK_MS = 10_000;

/** So often it is doubled where the answers lead to nothing new: somebody makes them up. */
const MOST_DOUBLINGS = 6;

/** So long a Coordinator may have a pod wait for its new mesh CA, in milliseconds. */
export const MOST_SETTLE_MS = 60_000;

/** So that no mistake here makes a loop that never rests, in milliseconds. */
const LEAST_MS = 100;

/** The files that are about the pod, and not about whom it trusts. */
const IDENTITY: ReadonlySet<string> = new Set(["certChain.pem", "key.pem"]);

export class Keeper {
  readonly #options: KeeperOptions;
  /** What is published about the pod. */
  #identity: readonly PublishedFile[];
  #issued: Issued | undefined;
  /** How many of its mesh CAs of before are trusted; and when each of them ends. */
  #trusted = 0;
  #ends: readonly Instant[] = [];
  /** How many of them the Coordinator still trusts, as far as is known. */
  #still = 0;
  #renewal: Instant | undefined;
  /** When the latest certificate is to be shown; undefined: it is. */
  #change: Instant | undefined;
  #question: Instant;
  /** Renewals in a row for which there was no reason but an answer. */
  #vain = 0;
  #wasAsked = false;
  readonly #renewing: Retry;
  readonly #publishing: Retry;
  /** Why the Coordinator could not be asked, and which certificate was said to be expired: each is told once. */
  #silence: string | undefined;
  #toldEnd: string | undefined;

  /**
   * @param files that are published
   * @param issued what they were made of; undefined: an earlier run of this program wrote them
   */
  constructor(options: KeeperOptions, files: readonly PublishedFile[], issued?: Issued) {
    this.#options = options;
    this.#identity = identityOf(files);
    this.#renewing = new Retry(options);
    this.#publishing = new Retry(options);
    this.#question = options.now();
    if (issued !== undefined) this.#take(issued);
  }

  /** Does what is due. What can be tried again is not thrown. @returns after how many milliseconds to come back */
  async turn(): Promise<number> {
    await this.#ask();
    const due = this.#due();
    if (due !== undefined && due.retry.mayTry()) await this.#attempt(due.retry, due.action);
    this.#tellEnd();
    return this.#wait();
  }

  #due(): { readonly retry: Retry; readonly action: () => Promise<void> } | undefined {
    const now = this.#options.now();
    const issued = this.#issued;
    if (issued !== undefined) {
      const ended = this.#ends.findIndex((end) => isOver(end, now));
      const count = Math.min(this.#still, ended < 0 ? this.#trusted : ended);
      if (count < this.#trusted) return { retry: this.#publishing, action: () => this.#trust(issued, count) };
      if (this.#change !== undefined && isOver(this.#change, now)) {
        return { retry: this.#publishing, action: () => this.#show(issued) };
      }
      if (this.#renewal !== undefined && !isOver(this.#renewal, now)) return undefined;
    }
    return { retry: this.#renewing, action: () => this.#renew() };
  }

  /** Whether the mesh CA is another one, or the annex. */
  async #ask(): Promise<void> {
    const { now, askInForce, random, log } = this.#options;
    const issued = this.#issued;
    if (issued === undefined || !isOver(this.#question, now())) return;
    let wait = ASK_MS * (0.8 + 0.4 * random()) * 2 ** this.#vain;
    try {
      const { trust, annex } = await askInForce();
      const count = trustedCount(trust, issued.meshCa, issued.previous);
      if (this.#silence !== undefined) log.info("the Coordinator answers again");
      this.#silence = undefined;
      this.#wasAsked = count === undefined || annex !== issued.annex;
      if (this.#wasAsked) this.#renewal = now();
      if (count !== undefined) {
        this.#still = count;
        if (!this.#wasAsked) this.#vain = Math.max(this.#vain - 1, 0);
      }
    } catch (error) {
      wait += requestedWait(error);
      const code = codeOf(error);
      if (code !== this.#silence) log.info({ code }, `can't ask for the mesh CA: ${describeError(error)}`);
      this.#silence = code;
    }
    this.#question = laterBy(now(), wait);
  }

  async #renew(): Promise<void> {
    const { enroll, now, log } = this.#options;
    const issued = await enroll();
    const settled = laterBy(now(), Math.min(issued.settleMs, MOST_SETTLE_MS));
    const isNew = issued.meshCa !== this.#issued?.meshCa || issued.annex !== this.#issued.annex;
    this.#vain = this.#wasAsked && !isNew ? Math.min(this.#vain + 1, MOST_DOUBLINGS) : 0;
    this.#wasAsked = false;
    const waits = issued.settleMs > 0 && canWait(this.#chain, issued.previous, settled.wall);
    const files = issued.files(issued.previous);
    await this.#publish(files, waits);
    this.#take(issued);
    this.#change = waits ? settled : undefined;
    const { settleMs } = issued;
    if (waits) log.info({ settleMs }, "another mesh CA is trusted; the new certificate is shown when that has settled");
    else this.#tellRenewal(issued);
  }

  /** The pod shows the certificate that it has had for a while. */
  async #show(issued: Issued): Promise<void> {
    await this.#publish(issued.files(issued.previous.slice(0, this.#trusted)), false);
    this.#change = undefined;
    this.#tellRenewal(issued);
  }

  /** Fewer of the mesh CAs of before are trusted. */
  async #trust(issued: Issued, count: number): Promise<void> {
    const previous = issued.previous.slice(0, count);
    // A certificate for which only an ended mesh CA stands is no good to wait with.
    const waits = this.#change !== undefined && canWait(this.#chain, previous, this.#options.now().wall);
    await this.#publish(issued.files(previous), waits);
    this.#trusted = count;
    if (!waits) this.#change = undefined;
    this.#options.log.info({ previousMeshCas: count }, "a mesh CA of before is trusted no more");
  }

  /** @param waits the pod goes on to show the certificate that it has */
  async #publish(files: readonly PublishedFile[], waits: boolean): Promise<void> {
    const kept = (file: PublishedFile): PublishedFile => this.#identity.find(({ name }) => name === file.name) ?? file;
    await this.#options.publish(waits ? files.map(kept) : files);
    if (!waits) this.#identity = identityOf(files);
  }

  #take(issued: Issued): void {
    const { now, random } = this.#options;
    this.#issued?.forget();
    this.#issued = issued;
    this.#trusted = this.#still = issued.previous.length;
    this.#ends = issued.previous.map((pem) => instantAt(endOf(pem), now()));
    this.#renewal = renewalOf(issued.certChain, now(), random());
    this.#question = laterBy(now(), ASK_MS * (0.8 + 0.4 * random()) * 2 ** this.#vain);
  }

  /** Each obstacle is told once. */
  async #attempt(retry: Retry, action: () => Promise<void>): Promise<void> {
    try {
      await action();
      retry.succeeded();
    } catch (error) {
      const code = codeOf(error);
      if (!retry.failed(code, requestedWait(error))) return;
      const text = `the certificates stay as they are: ${describeError(error)}`;
      if (isTransient(error)) this.#options.log.info({ code }, text);
      else this.#options.log.error({ code }, text);
    }
  }

  get #chain(): string {
    return String(this.#identity.find(({ name }) => name === "certChain.pem")?.content ?? "");
  }

  #tellRenewal({ certChain, secrets }: Issued): void {
    const until = endOf(certChain).toISOString();
    const named = secrets.length > 0 && { secrets };
    this.#options.log.info({ until, previousMeshCas: this.#trusted, ...named }, "certificates renewed");
  }

  /** Peers refuse the pod from then on. */
  #tellEnd(): void {
    const { now, log } = this.#options;
    const chain = this.#chain;
    if (chain === "" || chain === this.#toldEnd || endOf(chain) > now().wall) return;
    this.#toldEnd = chain;
    const hint = "the lines before say why it was not renewed";
    log.error({ code: "certificate_expired", until: endOf(chain).toISOString(), hint }, "the certificate has expired");
  }

  #wait(): number {
    const now = this.#options.now();
    const due = this.#due();
    const times =
      due === undefined
        ? [this.#renewal, this.#change, ...this.#ends.slice(0, this.#trusted)]
        : [due.retry.next ?? now];
    const waits = [...times, this.#question].flatMap((time) => (time === undefined ? [] : [msUntil(time, now)]));
    return Math.max(Math.min(ASK_MS, ...waits), LEAST_MS);
  }
}

function identityOf(files: readonly PublishedFile[]): readonly PublishedFile[] {
  return files.filter(({ name }) => IDENTITY.has(name));
}

function codeOf(error: unknown): string {
  return error instanceof CodedError ? error.code : "internal";
}
