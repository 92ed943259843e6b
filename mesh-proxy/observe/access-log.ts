import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Direction } from "../direction.ts";
import type { Outcome } from "./metrics.ts";

/**
 * A line of JSON for each connection, when it has ended. It has nothing of a client's choice but what a certificate of
 * the mesh says, and JSON has no line break in it whatever that is.
 */

/** What is known of a connection once it is joined to its upstream. */
export interface Joined {
  /** Address and port. */
  readonly upstream: string;
  /** Names of the TLS peer's certificate, which was verified: of the client (ingress) or of the upstream (egress). */
  readonly names: readonly string[];
  readonly tls: TlsFacts | null;
}

export interface TlsFacts {
  readonly version: string | null;
  readonly cipher: string | null;
  /** Only known on the client's side, which is egress. */
  readonly group?: string;
  readonly resumed: boolean;
}

export interface AccessEntry extends Partial<Joined> {
  readonly direction: Direction;
  readonly rule: string;
  /** Address and port that the client connected to. */
  readonly listener: string;
  /** Address and port of the client. */
  readonly peer: string;
  readonly up: number;
  readonly down: number;
  readonly durationMs: number;
  readonly outcome: Outcome;
  /** A code of `MeshProxyCode`, or `internal`; null where it completed. */
  readonly reason: string | null;
}

/** Of a reader that does not read; then lines are lost instead of memory, or of time. In bytes. */
const BACKLOG = 1024 * 1024;

const CLOSE_MS = 1_000;

export class AccessLog {
  readonly #stdout: Writable;
  readonly #now: () => Date;
  #lost = 0;

  constructor(stdout: Writable, now: () => Date) {
    this.#stdout = stdout;
    this.#now = now;
    // Nobody reads any more: that must not end the process.
    stdout.on("error", () => this.#lost++);
  }

  get lost(): number {
    return this.#lost;
  }

  write(entry: AccessEntry): void {
    if (this.#stdout.destroyed || this.#stdout.writableLength > BACKLOG) this.#lost++;
    else this.#stdout.write(`${JSON.stringify({ time: this.#now().toISOString(), ...entry })}\n`);
  }

  /** Waits until all lines are written, but not for long: nobody may read them. */
  async close(): Promise<void> {
    const { promise: written, resolve } = Promise.withResolvers<void>();
    this.#stdout.write("", () => resolve());
    await Promise.race([written, delay(CLOSE_MS)]);
  }
}
