import type { Audit } from "../observe/audit-events.ts";
import { inForce } from "../observe/audit.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { StateGuard } from "../state/state-guard.ts";
import type { Answered } from "./transit-port.ts";

interface Observers {
  readonly guard: StateGuard;
  readonly metrics: Metrics;
  readonly audit: Audit;
}

/** Counts what the transit port was asked, and writes down what it refused. Neither says which key anybody named. */
export function transitObserver({ guard, metrics, audit }: Observers): (answered: Answered) => void {
  return ({ operation, result, message, peer, key, policy }) => {
    metrics.countTransit(operation, result);
    if (result === "ok") return;
    audit.record({
      event: "request_refused",
      api: "transit",
      method: operation,
      peer,
      ...(key !== undefined && { key }),
      ...(policy !== undefined && { policy }),
      ...inForce(guard),
      code: result,
      message,
    });
  };
}
