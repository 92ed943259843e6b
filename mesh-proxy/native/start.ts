import { availableParallelism } from "node:os";
import type { Writable } from "node:stream";
import type { Logger } from "../../runtime/log.ts";
import { forConnections } from "../base/descriptors.ts";
import { MeshProxyError } from "../base/errors.ts";
import { DEADLINE_MS } from "../base/leg.ts";
import type { MeshProxyConfiguration } from "../configuration.ts";
import type { Limits } from "../limits/limits.ts";
import { Metrics, type Observed } from "../observe/metrics.ts";
import type { CredentialsInUse, CurrentCredentials } from "../tls/current-credentials.ts";
import { accessLogFor, limitsFor, type Observation } from "../telemetry.ts";
import type { Lookup } from "../upstream/names.ts";
import { type EngineSettings, loadAddon, type NativeEngine } from "./addon.ts";
import { EngineRule, usageOf } from "./counts.ts";
import { shedWhileScarce } from "./memory.ts";
import { RuleNumbers } from "./openings.ts";
import { NativeProxy, type NativeProxyOptions } from "./proxy.ts";

export interface NativeOptions {
  readonly credentials: CurrentCredentials & Observed["credentials"];
  /** How many descriptors the process may have; undefined: any number. */
  readonly descriptors: number | undefined;
  /** Of the process, in bytes. */
  readonly memory: number;
  readonly memoryInUse: () => number | undefined;
  readonly stdout: Writable;
  readonly log: Logger;
  readonly lookup: Lookup;
  readonly now: () => Date;
  /** How long an upstream may take; `DEADLINE_MS` where left out. */
  readonly upstreamMs?: number;
}

/** What a peer said before it went away is given up when the other one takes none of it for so long. */
const STALLED_MS = 60_000;

/** More threads than that bring nothing: the kernel has most of the work. */
const MOST_THREADS = 4;

/** @throws MeshProxyError `engine` or `certificates` */
export function startNative(
  configuration: MeshProxyConfiguration,
  options: NativeOptions,
): { proxy: NativeProxy; observation: Observation } {
  const { credentials, memory, memoryInUse, log, lookup, now } = options;
  const limits = limitsFor(configuration, "native", options);
  const accessLog = accessLogFor(configuration, options);
  const numbers = new RuleNumbers();
  let proxy: NativeProxy | undefined;
  const engine = loadAddon().create(settingsOf(limits, options, accessLog !== undefined), () => proxy?.take());
  const use = (current: CredentialsInUse): void => setCredentials(engine, current, configuration.CONTRAST_TLS_MIN);
  use(credentials.current);
  credentials.onChange(use);
  shedWhileScarce({ engine, inUse: memoryInUse, limit: memory });
  const admission = usageOf(engine, limits);
  const metrics = new Metrics(
    { engine: "native", admission, credentials, accessLog, startedAt: now() },
    (direction, name) => new EngineRule(engine, numbers, direction, name),
  );
  const expect: NativeProxyOptions["expect"] = (direction, rule) => void metrics.rule(direction, rule);
  proxy = new NativeProxy({ engine, numbers, limits, accessLog, log, lookup, now, expect });
  return { proxy, observation: { admission, metrics, accessLog } };
}

function settingsOf(limits: Limits, { descriptors, upstreamMs }: NativeOptions, hasAccessLog: boolean): EngineSettings {
  return {
    threads: Math.min(MOST_THREADS, availableParallelism()),
    ingressConnections: limits.ingress.total,
    ingressConnectionsOfSource: limits.ingress.perPeer,
    egressConnections: limits.egress.total,
    handshakes: limits.handshakes.total,
    handshakesOfSource: limits.handshakes.perPeer,
    heldBytes: limits.heldBytes.total,
    heldBytesOfSource: limits.heldBytes.perSource,
    descriptors: Math.min(forConnections(descriptors), Number.MAX_SAFE_INTEGER),
    handshakeMs: limits.handshakeMs,
    upstreamMs: upstreamMs ?? DEADLINE_MS,
    stalledMs: STALLED_MS,
    hasAccessLog,
    resumes: true,
  };
}

function setCredentials(engine: NativeEngine, { certChain, key, meshCa }: CredentialsInUse, oldest: string): void {
  try {
    engine.setCredentials({
      certChain: Buffer.from(certChain),
      key: key.reveal(),
      meshCa: Buffer.from(meshCa),
      allows12: oldest === "1.2",
    });
  } catch (cause) {
    throw new MeshProxyError("certificates", "the native engine refuses the certificates", {
      got: cause instanceof Error ? cause.message : String(cause),
      want: "keys of ECDSA, as the Coordinator issues certificates for",
      cause,
    });
  }
}
