import { setTimeout as delay } from "node:timers/promises";
import { httpReportData } from "../../attestation/report-data.ts";
import { type NonceTree, nonceTree } from "../../attestation/nonce-tree.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { AttestError } from "./attest-error.ts";
import { evidenceToJson, pathToJson } from "./evidence-json.ts";
import type { EvidenceSource } from "./evidence-source.ts";
import type { Published, PublishedHistory } from "./published-history.ts";

/** How long nonces are collected for one report, in milliseconds. */
export const BATCH_MS = 50;

/** How often a report is made anew where something else came into force meanwhile. */
const ATTEMPTS = 3;

export interface AttestationsOptions {
  readonly guard: Pick<StateGuard, "active">;
  readonly source: Pick<EvidenceSource, "collect" | "complete">;
  readonly published: Pick<PublishedHistory, "read">;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly observer?: AttestationsObserver | undefined;
}

/** Is told what happens, for metrics and the log. */
export interface AttestationsObserver {
  waiting(count: number): void;
  /** A report was made for so many nonces. */
  reported(nonces: number): void;
  /** None could be made. */
  failed(error: unknown): void;
}

/** An answer to `attest`: its body in pieces, most of which it shares with others. */
export interface Attested {
  readonly body: readonly Uint8Array[];
  /** What it says that is in force. */
  readonly snapshot: Snapshot;
}

interface Waiting {
  readonly nonce: Uint8Array;
  readonly resolve: (attested: Attested) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Makes one report for all nonces that wait. They are collected for a moment, and for as long as the report before them
 * takes and took: so verifiers, however many, have one report under way, and at most half of the TEE's time.
 *
 * All that an answer says is of one snapshot: the one that is in force when its nonces are closed into a tree. Where another
 * one is in force when the report is there, the report is worth nothing, and the same nonces get another one.
 */
export class Attestations {
  readonly #options: AttestationsOptions;
  readonly #waiting = new Set<Waiting>();
  #isRunning = false;
  /** Before this time no report is made: the TEE is others', too. */
  #notBefore = -Infinity;

  constructor(options: AttestationsOptions) {
    this.#options = options;
  }

  /**
   * @param nonce 32 bytes
   * @param left fires when nobody waits for the answer any more
   * @throws as `StateGuard.active`; AttestError `state_changed`; EvidenceError, EndorsementError; the reason of `left`
   */
  attest(nonce: Uint8Array, left: AbortSignal): Promise<Attested> {
    const { promise, resolve, reject } = Promise.withResolvers<Attested>();
    const one: Waiting = { nonce, resolve, reject };
    if (left.aborted) reject(left.reason);
    else {
      this.#waiting.add(one);
      this.#tellWaiting();
      left.addEventListener("abort", () => this.#leave(one, left.reason), { once: true });
      void this.#run();
    }
    return promise;
  }

  #leave(one: Waiting, reason: unknown): void {
    if (this.#waiting.delete(one)) this.#tellWaiting();
    one.reject(reason);
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#waiting.size > 0) {
      await delay(Math.max(BATCH_MS, this.#notBefore - this.#options.monotonic()));
      const batch = [...this.#waiting];
      this.#waiting.clear();
      this.#tellWaiting();
      if (batch.length > 0) await this.#answer(batch);
    }
    this.#isRunning = false;
  }

  async #answer(batch: readonly Waiting[]): Promise<void> {
    const { observer } = this.#options;
    try {
      const tree = nonceTree(batch.map(({ nonce }) => nonce));
      const { published, evidence } = await this.#attestTree(tree);
      observer?.reported(batch.length);
      for (const [index, { nonce, resolve }] of batch.entries()) {
        const own = { version: 1, nonce: hex(nonce), path: pathToJson(tree.paths[index] ?? []) };
        const head = Buffer.from(`${JSON.stringify(own).slice(0, -1)},`);
        resolve({ snapshot: published.snapshot, body: [head, evidence, published.members, CLOSE] });
      }
    } catch (error) {
      observer?.failed(error);
      for (const { reject } of batch) reject(error);
    }
  }

  async #attestTree({ root }: NonceTree): Promise<{ readonly published: Published; readonly evidence: Buffer }> {
    const { guard, source, published: history } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const published = await history.read();
      const reported = await this.#timed(() => source.collect(reportDataOf(root, published.snapshot)));
      const evidence = await source.complete(reported);
      if (guard.active() !== published.snapshot) continue;
      return { published, evidence: Buffer.from(`"evidence":${JSON.stringify(evidenceToJson(evidence))},`) };
    }
    throw stateChanged();
  }

  async #timed<T>(collect: () => Promise<T>): Promise<T> {
    const { monotonic } = this.#options;
    const began = monotonic();
    try {
      return await collect();
    } finally {
      const ended = monotonic();
      this.#notBefore = ended + (ended - began);
    }
  }

  #tellWaiting(): void {
    this.#options.observer?.waiting(this.#waiting.size);
  }
}

const CLOSE = Buffer.from("}");

export function stateChanged(): AttestError {
  return new AttestError("state_changed", "something else came into force while the report was made", {
    hint: "try again",
  });
}

function reportDataOf(treeRoot: Uint8Array, { latest, authority }: Snapshot): Uint8Array {
  const transition = Buffer.from(latest.transition, "hex");
  const [rootKey, meshKey] = [spkiDigest(authority.rootKey.publicKey), spkiDigest(authority.meshKey.publicKey)];
  return httpReportData({ treeRoot, transition, rootKey, meshKey });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
