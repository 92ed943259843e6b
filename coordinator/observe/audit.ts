import { hash } from "node:crypto";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { RateLimit } from "../../runtime/rate-limit.ts";
import type { Audit, AuditEvent, InForce } from "./audit-events.ts";
import type { AuditSink } from "./audit-sink.ts";
import type { StateGuard } from "../state/state-guard.ts";

/**
 * The audit log: a line of JSON for every certificate, refusal, change of the manifest and recovery. Lines are numbered
 * from 1 in each process; a number that is missing is a line that was lost, by this process or after it.
 *
 * Nothing waits for the log, and nothing is refused because a line can't be written (docs/observability.md says why).
 */
export interface AuditLogOptions {
  readonly sink: AuditSink;
  readonly now: () => Date;
  /** Why nothing this process says may be relied on; stands in every line. */
  readonly insecure: string | undefined;
  /** After this long, in milliseconds, suppressed refusals are told and an address may have new lines. */
  readonly windowMs: number;
}

export class AuditLog implements Audit {
  readonly #options: AuditLogOptions;
  readonly #refusals: RateLimit;
  #lines = 0;

  constructor(options: AuditLogOptions) {
    this.#options = options;
    this.#refusals = new RateLimit({
      windowMs: options.windowMs,
      lines: 5,
      // A window has at most 6 × 101 lines: of each address five, and the one that counts the others.
      keys: 100,
      onSuppressed: (address, codes) => this.#write({ event: "refusals_suppressed", address, codes }),
    });
  }

  record(event: AuditEvent): void {
    if (event.event === "connection_refused" || event.event === "request_refused") {
      const address = event.peer.slice(0, event.peer.lastIndexOf(":"));
      if (!this.#refusals.allows(address, event.code)) return;
    }
    this.#write(event);
  }

  /** Tells what was suppressed, and lets what is written arrive. */
  async close(): Promise<void> {
    this.#refusals.close();
    await this.#options.sink.close();
  }

  #write(event: AuditEvent): void {
    const { sink, now, insecure } = this.#options;
    this.#lines += 1;
    const line = { audit: this.#lines, time: now().toISOString(), insecure, ...event };
    sink.write(`${JSON.stringify(line)}\n`);
  }
}

/** Why something was refused, as the events tell it. What a peer sent may be in it, so its length has an end. */
export function reasonOf(error: unknown): { readonly code: string; readonly message: string } {
  const code = error instanceof CodedError ? error.code : "internal";
  return { code, message: describeError(error).slice(0, 1000) };
}

/** The manifest that a refusal was decided by; nothing where none is in force. */
export function inForce(guard: StateGuard): Partial<InForce> {
  if (guard.phase !== "active") return {};
  const { manifestDigest, generation } = guard.active();
  return { manifest: manifestDigest, generation };
}

/** @param chain PEM of ours; its first certificate counts. X509Certificate would take as long as a signature. */
export function fingerprint(chain: string): string {
  const [, base64 = ""] = chain.split(/-----(?:BEGIN|END) CERTIFICATE-----/, 2);
  return hash("sha256", Buffer.from(base64, "base64"), "hex");
}
