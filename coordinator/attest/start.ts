import type { ChipVendors } from "../../attestation/endorsements/vendors.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";
import type { Budget } from "../../runtime/budget.ts";
import type { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Audit } from "../observe/audit-events.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { PendingChanges } from "../state/pending-changes.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { AttestPort } from "./attest-port.ts";
import { Changes } from "./changes.ts";
import { Attestations, type AttestationsObserver } from "./attestations.ts";
import { EvidenceSource } from "./evidence-source.ts";
import type { AttestLimits } from "./limits.ts";
import { openApiDocument } from "./openapi.ts";
import { PublishedHistory } from "./published-history.ts";

export interface StartOptions {
  readonly guard: StateGuard;
  readonly history: EncodedHistory;
  /** Of the TEE itself: what belongs to its evidence is added here. */
  readonly attester: Attester;
  readonly pending: PendingChanges;
  /** Of large requests, of all APIs. */
  readonly requests: Budget;
  readonly audit: Audit;
  readonly vendors: ChipVendors;
  /** @throws EvidenceError where the clock can't be right */
  readonly now: () => Date;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly random: (length: number) => Buffer;
  readonly limits: AttestLimits;
  readonly turns: KeyedSemaphore;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** @throws ChannelError `address_unavailable` */
export function startAttestPort(
  options: StartOptions,
  port: number,
  address: string | undefined,
): Promise<AttestPort & { readonly port: number }> {
  const {
    guard,
    history,
    pending,
    requests,
    audit,
    attester,
    vendors,
    now,
    monotonic,
    random,
    limits,
    turns,
    metrics,
    log,
  } = options;
  const source = new EvidenceSource({ attester, vendors, now, random });
  const published = new PublishedHistory(guard, history, limits.historyBytes);
  const observer = observerOf(metrics, log);
  return AttestPort.listen(
    {
      guard,
      published,
      source,
      changes: new Changes({ guard, history, published, pending, requests, audit, log }),
      limits,
      turns,
      log,
      attestations: new Attestations({ guard, source, published, monotonic, observer }),
      document: Buffer.from(JSON.stringify(openApiDocument())),
      observer: metrics.connections("attest"),
      answered: ({ operation, result }) => metrics.countAttest(operation, result),
    },
    port,
    address,
  );
}

/** Strangers can have reports made as often as they like: that none can be made is told once for each reason. */
function observerOf(metrics: Metrics, log: Logger): AttestationsObserver {
  let told: string | undefined;
  return {
    waiting: (count) => metrics.attestWaiting(count),
    reported(nonces) {
      told = undefined;
      metrics.countAttestReport(nonces, "ok");
    },
    failed(error) {
      const code = error instanceof CodedError ? error.code : "internal";
      metrics.countAttestReport(0, code);
      if (code !== told) log.warn({ code }, `no evidence for verifiers over HTTP: ${describeError(error)}`);
      told = code;
    },
  };
}
