import { availableParallelism } from "node:os";
import type { MeshProxyConfiguration } from "../configuration.ts";
import type { CredentialsInUse } from "../credentials/current-credentials.ts";
import { MeshProxyError } from "../faults.ts";
import { forConnections } from "../limits/descriptors.ts";
import type { Limits } from "../limits/limits.ts";
import { shedWhileScarce } from "../limits/memory-in-use.ts";
import { DEADLINE_MS, STALLED_MS } from "../limits/numbers.ts";
import { accessLogFor, limitsFor } from "../observation.ts";
import { Metrics } from "../observe/metrics.ts";
import type { EngineOptions, StartedEngine } from "../proxy-engine.ts";
import { type EngineSettings, loadAddon, type NativeEngine } from "./addon.ts";
import { EngineRule, usageOf } from "./counts.ts";
import { RuleNumbers } from "./openings.ts";
import { NativeProxy, type NativeProxyOptions } from "./proxy.ts";

export interface NativeOptions extends EngineOptions {
  /** How long an upstream may take; `DEADLINE_MS` where left out. */
  readonly upstreamMs?: number;
}

/** More threads than that bring nothing: the kernel has most of the work. */
const MOST_THREADS = 4;

/** @throws MeshProxyError `engine` or `certificates` */
export function startNative(configuration: MeshProxyConfiguration, options: NativeOptions): StartedEngine {
  const { credentials, memory, memoryInUse, log, lookup, now } = options;
  const limits = limitsFor(configuration, "native", options);
  const accessLog = accessLogFor(configuration, options);
  const numbers = new RuleNumbers();
  let proxy: NativeProxy | undefined;
  const engine = loadAddon().create(settingsOf(limits, options, accessLog !== undefined), () => proxy?.take());
  const use = (current: CredentialsInUse): void => setCredentials(engine, current, configuration.CONTRAST_TLS_MIN);
  use(credentials.current);
  credentials.onChange(use);
  shedWhileScarce({ inUse: memoryInUse, limit: memory }, (bytes) => proxy?.shed(bytes));
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
