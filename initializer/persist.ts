import { EndorsementError } from "../attestation/endorsements/error.ts";
import { EvidenceError } from "../attestation/error.ts";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { backoff } from "../runtime/backoff.ts";
import { CodedError, describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { SecretError } from "./secret-error.ts";

/**
 * Tries until it succeeds, is refused for good, is told to stop, or has no time left. Writes a line when what it waits
 * for changes, not for every try.
 */
export interface Patience {
  readonly log: Logger;
  /** Fires when the program is told to stop, or when CONTRAST_TIMEOUT is over. */
  readonly stop: AbortSignal;
  /** Of 0 to 1, for the jitter. */
  readonly random: () => number;
  /** Resolves after the time, or early when the signal fires. */
  readonly sleep: (ms: number, stop: AbortSignal) => Promise<void>;
}

const MAX_REQUESTED_WAIT = 60_000;

type Obstacle = ChannelError | RemoteError | EvidenceError | EndorsementError | SecretError;

/** Waiting ended without success; `cause` is what stood in the way last. */
export class GaveUp extends CodedError<"gave_up"> {}

export async function persist<T>(attempt: () => Promise<T>, { log, stop, random, sleep }: Patience): Promise<T> {
  let obstacle: Obstacle | undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    const giveUp = (): void => {
      const cause = obstacle ?? new ChannelError("timeout", "no answer in time");
      const { code, message, where, got, want, hint } = cause;
      reject(new GaveUp("gave_up", `stopped waiting: ${code}: ${message}`, { where, got, want, hint, cause }));
    };
    if (stop.aborted) giveUp();
    else stop.addEventListener("abort", giveUp, { once: true });
  });
  for (let failures = 1; ; failures++) {
    try {
      return await Promise.race([stopped, attempt()]);
    } catch (error) {
      if (!isTransient(error)) throw error;
      if (!isSame(error, obstacle)) log.info({ code: error.code }, `waiting: ${describeError(error)}`);
      obstacle = error;
    }
    await Promise.race([stopped, sleep(requestedWait(obstacle) + backoff(failures, random()), stop)]);
  }
}

/** Of secrets people are told which; other messages have what changes from one try to the next. */
function isSame(error: Obstacle, before: Obstacle | undefined): boolean {
  const isSecrets = error instanceof SecretError && before instanceof SecretError;
  return isSecrets ? error.describe() === before.describe() : error.code === before?.code;
}

/** What the Coordinator asks for, to some extent: a hostile one must not park an Initializer for ever. Milliseconds. */
export function requestedWait(obstacle: unknown): number {
  return obstacle instanceof RemoteError ? Math.min(obstacle.retryAfterMs, MAX_REQUESTED_WAIT) : 0;
}

/** Nothing that this side could change would help, and time may. */
export function isTransient(error: unknown): error is Obstacle {
  if (error instanceof RemoteError || error instanceof SecretError) return error.transient;
  if (error instanceof EvidenceError) return error.code === "tee_busy";
  if (error instanceof EndorsementError) return error.code === "vendor_unreachable";
  return error instanceof ChannelError && ["unreachable", "timeout", "closed", "tls_handshake"].includes(error.code);
}
