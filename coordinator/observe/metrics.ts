import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { status } from "@grpc/grpc-js";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Handlers } from "../../api/grpc.ts";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { toStatus } from "../../channel/rejection.ts";
import type { ChannelObserver } from "../../channel/server.ts";
import { VERSION } from "../../runtime/version.ts";
import type { Audit, AuditEvent } from "./audit-events.ts";
import type { Authority } from "../state/authority.ts";
import { type Phase, PHASES } from "../state/phase.ts";
import type { Snapshot } from "../state/snapshot.ts";

/**
 * The metrics of docs/design.md §7, in the names and labels that go-grpc-prometheus made usual, and what else an
 * operator needs. What is an event of the audit log is counted by that event, so that log and metrics can't disagree.
 * docs/observability.md explains each; a test compares.
 */
type Api = "user" | "mesh" | "transit" | "attest";

/** The part of StateGuard that is looked at, at every scrape. */
export interface ObservedState {
  readonly phase: Phase;
  /** How what is in force stands to the store; undefined: nothing is in force. */
  readonly standing?: { readonly unconfirmedMs: number; readonly isRolledBack: boolean } | undefined;
  active(): Pick<Snapshot, "generation" | "previousMeshes"> & {
    readonly authority: Pick<Authority, "validity" | "certificateLifetimeMs">;
  };
}

export class Metrics implements Audit {
  readonly registry = new Registry();
  readonly #now: () => Date;
  readonly #handled = this.#counter("contrast_grpc_server_handled_total", "Completed calls, by status.", [
    "grpc_service",
    "grpc_method",
    "grpc_code",
  ]);
  readonly #handling = this.#histogram("contrast_grpc_server_handling_seconds", "Duration of calls.", [
    "grpc_service",
    "grpc_method",
  ]);
  readonly #verification = this.#histogram(
    "contrast_meshapi_evidence_verification_seconds",
    "Duration of the verification of evidence, including requests to the vendor.",
  );
  readonly #attestationFailures = this.#counter(
    "contrast_meshapi_attestation_failures_total",
    "Connections to the mesh API that were refused because of their evidence.",
  );
  readonly #certificates = this.#counter(
    "contrast_meshapi_certificates_total",
    "Requests for a certificate, by result: issued, or the code of the refusal.",
    ["result"],
  );
  readonly #connectionsOpen = this.#gauge("contrast_connections_open", "Open connections.", ["api"]);
  readonly #connectionsRefused = this.#counter(
    "contrast_connections_refused_total",
    "Connections that were refused before a call, by the code of the refusal.",
    ["api", "reason"],
  );
  readonly #transit = this.#counter(
    "contrast_transit_requests_total",
    "Requests to the transit port, by operation and by result: ok, or the code of the refusal.",
    ["operation", "result"],
  );
  readonly #attest = this.#counter(
    "contrast_attest_requests_total",
    "Requests to the attestation port, by operation and by result: ok, or the code of the refusal.",
    ["operation", "result"],
  );
  readonly #attestReports = this.#counter(
    "contrast_attest_reports_total",
    "Reports that were to be made for verifiers, by result: ok, or the code of what was in the way.",
    ["result"],
  );
  readonly #attestNonces = new Histogram({
    name: "contrast_attest_report_nonces",
    help: "How many verifiers one report was made for.",
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
    registers: [this.registry],
  });
  readonly #attestWaiting = this.#gauge("contrast_attest_waiting", "Nonces that wait for a report.");
  readonly #recoveries = this.#counter("contrast_coordinator_recoveries_total", "Successful recoveries.");
  readonly #peerRecoveries = this.#counter(
    "contrast_coordinator_peer_recoveries_total",
    "Handovers of secrets between Coordinators, by the part that this one had: giver or receiver.",
    ["role"],
  );
  readonly #takeovers = this.#counter(
    "contrast_coordinator_takeovers_total",
    "New mesh CAs that this Coordinator made because nobody had the last one.",
  );
  readonly #amendments = this.#counter(
    "contrast_coordinator_amendments_total",
    "Annexes that owners put in force at this Coordinator.",
  );
  readonly #formatGrants = this.#counter(
    "contrast_coordinator_format_grants_used_total",
    "Leaves to format a volume that workloads used up at this Coordinator.",
  );
  readonly #manifestSet = this.#gauge(
    "contrast_coordinator_manifest_set_timestamp_seconds",
    "Time when this process last set a manifest; 0: never.",
  );
  readonly #auditFailures = this.#counter(
    "contrast_audit_write_failures_total",
    "Lost lines of the audit log, which could not be written.",
  );

  constructor(state: ObservedState, now: () => Date) {
    this.#now = now;
    collectDefaultMetrics({ register: this.registry });
    this.#gauge("contrast_coordinator_build_info", "Always 1; the version is the label.", ["version"]).set(
      { version: VERSION },
      1,
    );
    const snapshot = (): ReturnType<ObservedState["active"]> | undefined =>
      state.phase === "active" ? state.active() : undefined;
    this.#gauge(
      "contrast_coordinator_state",
      "1 for the current state of the Coordinator, 0 for the others.",
      ["phase"],
      (gauge) => {
        for (const phase of PHASES) gauge.set({ phase }, Number(phase === state.phase));
      },
    );
    this.#gauge(
      "contrast_coordinator_unconfirmed_seconds",
      "How long the shared store has not confirmed what is in force; 0: nothing is in force, or the store is not shared.",
      [],
      (gauge) => gauge.set((state.standing?.unconfirmedMs ?? 0) / 1000),
    );
    this.#gauge(
      "contrast_coordinator_rolled_back",
      "1 where the shared store shows an older state than the one in force.",
      [],
      (gauge) => gauge.set(Number(state.standing?.isRolledBack === true)),
    );
    this.#gauge(
      "contrast_coordinator_manifest_generation",
      "Number of manifests in the history; 0: none is in force.",
      [],
      (gauge) => gauge.set(snapshot()?.generation ?? 0),
    );
    this.#gauge(
      "contrast_coordinator_mesh_ca_expiry_timestamp_seconds",
      "Time when the mesh CA expires; 0: there is none.",
      [],
      (gauge) => {
        gauge.set((snapshot()?.authority.validity.notAfter.getTime() ?? 0) / 1000);
      },
    );
    this.#gauge(
      "contrast_coordinator_certificate_lifetime_seconds",
      "Lifetime of the certificates of workloads; 0: no manifest is in force.",
      [],
      (gauge) => gauge.set((snapshot()?.authority.certificateLifetimeMs ?? 0) / 1000),
    );
    this.#gauge(
      "contrast_coordinator_previous_mesh_ca_end_timestamp_seconds",
      "Time when the last mesh CA of before stops being trusted; 0: none was to be trusted.",
      [],
      (gauge) => {
        const ends = (snapshot()?.previousMeshes ?? []).map(({ until }) => until.getTime());
        gauge.set(Math.max(0, ...ends) / 1000);
      },
    );
  }

  record(event: AuditEvent): void {
    switch (event.event) {
      case "certificate_issued":
        this.#certificates.inc({ result: "issued" });
        break;
      case "connection_refused":
        this.#attestationFailures.inc();
        break;
      case "request_refused":
        if (event.api === "mesh" && event.method === MeshAPI.method.newMeshCert.name)
          this.#certificates.inc({ result: event.code });
        break;
      case "manifest_set":
        this.#manifestSet.set(this.#now().getTime() / 1000);
        break;
      case "recovered":
        this.#recoveries.inc();
        break;
      case "peer_recovery_given":
        this.#peerRecoveries.inc({ role: "giver" });
        break;
      case "peer_recovery_received":
        this.#peerRecoveries.inc({ role: "receiver" });
        break;
      case "taken_over":
        this.#takeovers.inc();
        break;
      case "amended":
        this.#amendments.inc();
        break;
      case "format_grant_used":
        this.#formatGrants.inc();
        break;
      case "secret_sealed":
      case "peer_recovery_refused":
      case "history_forked":
      case "state_rolled_back":
      case "coordinator_started":
      case "coordinator_stopped":
      case "share_accepted":
      case "seed_shares_made":
      case "rekey_prepared":
      case "rekeyed":
      case "change_pending":
      case "change_dropped":
      case "refusals_suppressed":
        break;
    }
  }

  countTransit(operation: string, result: string): void {
    this.#transit.inc({ operation, result });
  }

  countAttest(operation: string, result: string): void {
    this.#attest.inc({ operation, result });
  }

  attestWaiting(count: number): void {
    this.#attestWaiting.set(count);
  }

  /** @param nonces 0 where there was no report, and then the result is why */
  countAttestReport(nonces: number, result: string): void {
    this.#attestReports.inc({ result });
    if (nonces > 0) this.#attestNonces.observe(nonces);
  }

  countAuditFailure(): void {
    this.#auditFailures.inc();
  }

  /** Is told of the connections of one API. */
  connections(api: Api): ChannelObserver {
    this.#connectionsOpen.set({ api }, 0);
    return {
      connectionsOpen: (count) => this.#connectionsOpen.set({ api }, count),
      connectionRefused: (reason) => this.#connectionsRefused.inc({ api, reason }),
    };
  }

  async timeVerification<T>(verify: () => Promise<T>): Promise<T> {
    const stop = this.#verification.startTimer();
    try {
      return await verify();
    } finally {
      stop();
    }
  }

  /** The same handlers, counted and timed. */
  instrument<M extends GenServiceMethods>(service: GenService<M>, handlers: Handlers<M>): Handlers<M> {
    const counted = service.methods.map((method) => {
      const labels = { grpc_service: service.typeName, grpc_method: method.name };
      const handler: Handlers<M>[string] | undefined = handlers[method.localName];
      if (handler === undefined) throw new Error(`no handler for ${method.name}`);
      const instrumented: typeof handler = async (request, call) => {
        const stop = this.#handling.startTimer(labels);
        let code = status.OK;
        try {
          return await handler(request, call);
        } catch (error) {
          code = toStatus(error).code ?? status.UNKNOWN;
          throw error;
        } finally {
          stop();
          this.#handled.inc({ ...labels, grpc_code: status[code] });
        }
      };
      return [method.localName, instrumented] as const;
    });
    return Object.fromEntries(counted) as Handlers<M>;
  }

  #counter<L extends string>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  /** @param collect runs at every scrape */
  #gauge<L extends string>(
    name: string,
    help: string,
    labelNames: L[] = [],
    collect?: (gauge: Gauge<L>) => void,
  ): Gauge<L> {
    const gauge: Gauge<L> = new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      ...(collect === undefined ? {} : { collect: () => collect(gauge) }),
    });
    return gauge;
  }

  #histogram<L extends string>(name: string, help: string, labelNames: L[] = []): Histogram<L> {
    const buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }
}
