import { readdir } from "node:fs/promises";
import { VERSION } from "../../runtime/version.ts";
import type { Limits } from "../limits/limits.ts";
import { descriptorLimit } from "../limits/descriptors.ts";
import type { Direction } from "../direction.ts";
import { expose, type Family, type Labels, type Sample } from "./exposition.ts";

/**
 * What the proxy counts. Labels have few values: names of rules and codes, never anything of a peer's choice.
 * docs/mesh-proxy.md explains each; a test compares.
 */

/** Both ends ended it; it was not joined to its upstream; it broke after that. */
const OUTCOMES = ["completed", "refused", "broken"] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** In seconds: a resumed handshake takes 1 ms of work, one across the world with a lost packet a second. */
export const HANDSHAKE_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Plain bytes that were taken from one side for the other. Counted as they come, so they stand also where it breaks. */
export interface Carried {
  /** From downstream to upstream. */
  up: number;
  down: number;
}

/** What is known of the connections of one rule. */
export interface RuleCounts {
  readonly labels: Labels;
  readonly open: number;
  readonly ended: Readonly<Record<Outcome, number>>;
  /** By their reasons. */
  readonly refusals: ReadonlyMap<string, number>;
  readonly bufferedBytes: number;
  /** Plain bytes, also of connections that are still open. */
  bytes(flow: keyof Carried): number;
  handshakeSamples(labels: Labels): Sample[];
}

/** How much of the limits is used. */
export interface Usage {
  readonly limits: Limits;
  readonly ingress: { readonly inside: number; readonly mostOfOnePeer: number };
  /** How many connections the egress listener has that has most. */
  readonly mostEgress: number;
  readonly handshakes: { readonly inside: number; readonly mostOfOnePeer: number; readonly waiting: number };
  readonly heldBytes: { readonly used: number; readonly mostOfOneSource: number };
}

/** What serves connections. */
export type EngineName = "native" | "streams";

/** What is counted elsewhere. */
export interface Observed {
  readonly engine: EngineName;
  readonly admission: Usage;
  readonly credentials: { readonly current: { readonly notAfter: Date }; readonly failures: number };
  readonly accessLog: { readonly lost: number } | undefined;
  readonly startedAt: Date;
}

export class Metrics<Rule extends RuleCounts = RuleCounts> {
  readonly #observed: Observed;
  readonly #make: (direction: Direction, name: string) => Rule;
  readonly #rules = new Map<string, Rule>();

  /** @param make makes the counts of a rule */
  constructor(observed: Observed, make: (direction: Direction, name: string) => Rule) {
    this.#observed = observed;
    this.#make = make;
  }

  /** @param name of the configuration: there are not many of them */
  rule(direction: Direction, name: string): Rule {
    const key = `${direction} ${name}`;
    let rule = this.#rules.get(key);
    if (rule === undefined) this.#rules.set(key, (rule = this.#make(direction, name)));
    return rule;
  }

  async text(): Promise<string> {
    return expose([
      ...this.#connections(),
      ...this.#limits(),
      ...this.#proxy(),
      ...(await processFamilies(this.#observed.startedAt)),
    ]);
  }

  #connections(): Family[] {
    const rules = [...this.#rules.values()];
    const each = (samples: (rule: RuleCounts, labels: Labels) => Sample[]): Sample[] =>
      rules.flatMap((rule) => samples(rule, rule.labels));
    return [
      gauge(
        "contrast_mesh_connections_open",
        "Open connections.",
        each(({ open }, labels) => [{ labels, value: open }]),
      ),
      counter(
        "contrast_mesh_connections_total",
        "Ended connections, by outcome.",
        each(({ ended }, labels) =>
          OUTCOMES.map((outcome) => ({ labels: { ...labels, outcome }, value: ended[outcome] })),
        ),
      ),
      counter(
        "contrast_mesh_refusals_total",
        "Connections that were refused before they reached the upstream, by reason.",
        each(({ refusals }, labels) =>
          [...refusals].map(([reason, value]) => ({ labels: { ...labels, reason }, value })),
        ),
      ),
      counter(
        "contrast_mesh_bytes_total",
        "Plain-text bytes carried: up from the client, down to the client.",
        each((rule, labels) =>
          (["up", "down"] as const).map((flow) => ({ labels: { ...labels, flow }, value: rule.bytes(flow) })),
        ),
      ),
      gauge(
        "contrast_mesh_buffered_bytes",
        "Bytes that wait until peers read them.",
        each(({ bufferedBytes }, labels) => [{ labels, value: bufferedBytes }]),
      ),
      {
        name: "contrast_mesh_handshake_seconds",
        type: "histogram",
        help: "Duration of successful TLS handshakes, without the time in the queue.",
        samples: each((rule, labels) => rule.handshakeSamples(labels)),
      },
    ];
  }

  #limits(): Family[] {
    const { limits, ingress, mostEgress, handshakes, heldBytes } = this.#observed.admission;
    const most = {
      ingress_connections: limits.ingress.total,
      ingress_connections_per_source: limits.ingress.perPeer,
      egress_connections_per_rule: limits.egress.total,
      handshakes: limits.handshakes.total,
      handshakes_per_source: limits.handshakes.perPeer,
      held_bytes: limits.heldBytes.total,
      held_bytes_per_source: limits.heldBytes.perSource,
    };
    const used: Readonly<Record<keyof typeof most, number>> = {
      ingress_connections: ingress.inside,
      ingress_connections_per_source: ingress.mostOfOnePeer,
      egress_connections_per_rule: mostEgress,
      handshakes: handshakes.inside,
      handshakes_per_source: handshakes.mostOfOnePeer,
      held_bytes: heldBytes.used,
      held_bytes_per_source: heldBytes.mostOfOneSource,
    };
    const samples = (values: typeof used): Sample[] =>
      Object.entries(values).map(([limit, value]) => ({ labels: { limit }, value }));
    return [
      gauge("contrast_mesh_limit", "Limit on each resource.", samples(most)),
      gauge(
        "contrast_mesh_limit_used",
        "Use of each limited resource; for limits per source or rule, the highest.",
        samples(used),
      ),
      gauge("contrast_mesh_handshakes_waiting", "Clients that wait for their handshake.", [
        { value: handshakes.waiting },
      ]),
      gauge("contrast_mesh_handshake_timeout_seconds", "Time limit for a client's handshake.", [
        { value: limits.handshakeMs / 1000 },
      ]),
    ];
  }

  #proxy(): Family[] {
    const { credentials, accessLog, engine } = this.#observed;
    return [
      counter("contrast_mesh_access_log_lost_total", "Lost lines of the access log, because the reader was too slow.", [
        { value: accessLog?.lost ?? 0 },
      ]),
      gauge("contrast_mesh_certificate_expiry_timestamp_seconds", "Time when the workload's certificate expires.", [
        { value: credentials.current.notAfter.getTime() / 1000 },
      ]),
      counter(
        "contrast_mesh_certificate_reload_failures_total",
        "Changes of the certificate files that gave no valid set.",
        [{ value: credentials.failures }],
      ),
      gauge("contrast_mesh_build_info", "Always 1; the version is the label.", [
        { labels: { version: VERSION }, value: 1 },
      ]),
      gauge("contrast_mesh_engine_info", "Always 1; what carries connections is the label.", [
        { labels: { engine }, value: 1 },
      ]),
    ];
  }
}

function gauge(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, type: "gauge", help, samples };
}

function counter(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, type: "counter", help, samples };
}

/** Under the names that all of Prometheus' client libraries use. */
async function processFamilies(startedAt: Date): Promise<Family[]> {
  const { user, system } = process.cpuUsage();
  return [
    counter("process_cpu_seconds_total", "CPU time, user and system.", [{ value: (user + system) / 1e6 }]),
    gauge("process_resident_memory_bytes", "Resident memory.", [{ value: process.memoryUsage.rss() }]),
    gauge("process_open_fds", "Open file descriptors.", [{ value: (await readdir("/proc/self/fd")).length }]),
    gauge("process_max_fds", "Limit on open file descriptors.", [{ value: descriptorLimit() ?? Infinity }]),
    gauge("process_start_time_seconds", "Start time of the process.", [{ value: startedAt.getTime() / 1000 }]),
  ];
}
