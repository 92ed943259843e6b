import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { lookup } from "node:dns/promises";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Clock } from "../attestation/clock.ts";
import { withEndorsement } from "../attestation/collect/with-endorsement.ts";
import { EndorsementCache } from "../attestation/endorsements/cache.ts";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { vendorsThrough } from "../attestation/endorsements/vendors.ts";
import type { Attester } from "../attestation/evidence.ts";
import { EvidenceCache } from "../attestation/evidence-cache.ts";
import { ownIdentity } from "../attestation/own-identity.ts";
import { insecureReason, openAttester, teeConstraints, teeVariables } from "../attestation/open.ts";
import { listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";
import { buildTime } from "../runtime/build-time.ts";
import { describeError } from "../runtime/errors.ts";
import { Budget } from "../runtime/budget.ts";
import type { Constraint } from "../runtime/environment.ts";
import { EXIT } from "../runtime/exit.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { memoryLimit, memoryLimitVariable, system } from "../runtime/memory-limit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import { ipAddress, oneOf, path } from "../runtime/variables.ts";
import { VERSION } from "../runtime/version.ts";
import { startAttestPort } from "./attest/start.ts";
import { AuditLog } from "./observe/audit.ts";
import type { Audit } from "./observe/audit-events.ts";
import { auditVariables, openAuditSink } from "./observe/audit-sink.ts";
import { EncodedHistory } from "./state/encoded-history.ts";
import { openStore, stateName } from "./open-store.ts";
import { type Own, ownOf } from "./peers/acceptance.ts";
import { type RunningPeers, startPeers } from "./peers/start.ts";
import { peerVariables } from "./peers/variables.ts";
import { healthMethods } from "./serve/health.ts";
import { coordinatorLimits, LEAST_BYTES } from "./serve/limits.ts";
import { appraiseWorkload, peerAccount, serveMeshApi } from "./serve/mesh-api.ts";
import { Metrics } from "./observe/metrics.ts";
import { ownerAccount } from "./serve/owner-places.ts";
import { listenForProbes } from "./serve/probe-port.ts";
import { createProbes } from "./serve/probes.ts";
import { Roots } from "./state/roots.ts";
import { CoordinatorStatus } from "./serve/status.ts";
import { PendingChanges } from "./state/pending-changes.ts";
import type { Phase } from "./state/phase.ts";
import { StateGuard } from "./state/state-guard.ts";
import { transitObserver } from "./transit/observer.ts";
import { TransitPort } from "./transit/transit-port.ts";
import { keepTidy } from "./state/tidy.ts";
import { appraiseUser, serveUserApi } from "./serve/user-api.ts";

const USER_API_PORT = 1313;
const ATTEST_PORT = 1314;
const MESH_API_PORT = 7777;
const TRANSIT_PORT = 8200;
const PROBE_PORT = 9102;

/** How long the audit log counts refusals before it tells of those without a line, in milliseconds. */
const AUDIT_WINDOW_MS = 60_000;

/** From one garbage collection of the history's store to the next, in milliseconds. */
const TIDY_MS = 600_000;

/** How long requests may go on after SIGTERM, in milliseconds. */
const GRACE_MS = 5000;

const variables = {
  CONTRAST_STATE_DIR: path("/var/lib/contrast", "the folder of the history"),
  CONTRAST_STATE_STORE: oneOf(["file", "kubernetes"], "file", "how the history is stored"),
  CONTRAST_STATE_NAME: stateName("coordinator", "the prefix of the history's ConfigMaps, with kubernetes"),
  CONTRAST_LISTEN_ADDRESS: ipAddress(undefined, "the address of all ports (default: every address)"),
  CONTRAST_MEMORY_LIMIT: memoryLimitVariable,
  ...auditVariables,
  ...peerVariables,
  ...endorsementVariables,
  ...teeVariables,
} as const;

const peersShareAStore: Constraint<typeof variables> = {
  about: ["CONTRAST_PEERS", "CONTRAST_STATE_STORE"],
  faults: ({ CONTRAST_PEERS: peers, CONTRAST_STATE_STORE: store }) =>
    peers.length === 0 || store === "kubernetes"
      ? []
      : [{ where: "CONTRAST_STATE_STORE", got: store, want: "kubernetes, for CONTRAST_PEERS have to share one store" }],
};

/** Where a TD learns what it is (linux/include/uapi/linux/tdx-guest.h). */
const TDX_GUEST_DEVICE = "/dev/tdx_guest";

await runProgram(
  {
    name: "coordinator",
    summary: "attests workloads against the manifest, and issues their certificates",
    variables,
    constraints: [...teeConstraints, peersShareAStore],
    insecure: insecureReason,
    run,
  },
  process,
);

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const now = (): Date => new Date();
  const allowInsecure = configuration.CONTRAST_ALLOW_INSECURE;
  const built = buildTime();
  const clock = new Clock({ now, built: () => built });
  clock.now();
  const network = { fetch, now, random: Math.random, sleep: delay };
  const tee = await openAttester(configuration, network);
  const holder = { pid: process.pid, host: hostname(), since: now() };
  const monotonic = (): number => performance.now();
  const around = { holder, random: randomBytes, monotonic, environment: process.env, log, stop };
  const store = await openStore(configuration, around);
  const hosts = configuration.CONTRAST_PEERS;
  let peers: RunningPeers | undefined;
  const guard = await StateGuard.load({
    store,
    allowInsecure,
    now: (manifest) => clock.now(manifest),
    random: randomBytes,
    sharing: { monotonic, hold: hosts.length > 0, livePeers: () => peers?.live() ?? 1 },
  });
  if (!store.shared) {
    store.watch(() => {
      const hint = "restore backups while the Coordinator is stopped";
      log.error({ hint }, "another process changed the history: the manifest in force stays, set is refused");
    });
  }
  const stopTidying = keepTidy({
    guard,
    store,
    roots: new Roots(store),
    onSwept: (removed) => removed > 0 && log.info({ removed }, "removed what no manifest of the history needs"),
    onFailure: (error) => log.warn(`what no manifest needs stays in the history's store: ${describeError(error)}`),
    everyMs: TIDY_MS,
  });
  const keys = await generateEcKey("P-256");
  const identity = await selfSigned(keys, now());
  const address = configuration.CONTRAST_LISTEN_ADDRESS;

  const metrics = new Metrics(guard, now);
  const sink = openAuditSink({
    destination: configuration.CONTRAST_AUDIT_LOG,
    stdout: process.stdout,
    log,
    onFailure: () => metrics.countAuditFailure(),
  });
  if (sink.reopen !== undefined) process.on("SIGHUP", () => sink.reopen?.());
  const auditLog = new AuditLog({ sink, now, insecure: insecureReason(configuration), windowMs: AUDIT_WINDOW_MS });
  const audit: Audit = {
    record(event) {
      metrics.record(event);
      auditLog.record(event);
    },
  };
  const endorsements = new EndorsementCache({
    network,
    directory: join(configuration.CONTRAST_STATE_DIR, "endorsements"),
    proxy: configuration.CONTRAST_COLLATERAL_PROXY,
    onWarning: (message, url, error) => log.warn({ url: url.href }, `${message}: ${describeError(error)}`),
  });
  const vendors = vendorsThrough(endorsements);
  const attester = withEndorsement(tee, vendors, { hurry: true }, (error) => {
    // Whoever verifies this Coordinator can ask for it himself.
    log.warn({ code: error.code }, `the certificate of this chip is not available: ${describeError(error)}`);
  });
  const insecure = attester.insecure !== undefined;
  const memory = configuration.CONTRAST_MEMORY_LIMIT ?? memoryLimit(system);
  const limits = coordinatorLimits(memory);
  const history = new EncodedHistory(guard, limits.historyBytes);
  const mesh = {
    guard,
    history,
    allowInsecure,
    vendors,
    cache: new EvidenceCache(),
    metrics,
    audit,
    clock,
    log,
    insecure,
  };
  audit.record({ event: "coordinator_started", version: VERSION, phase: guard.phase });
  if (memory < LEAST_BYTES) {
    log.warn({ memory, want: LEAST_BYTES }, "little memory: a flood of connections can end this process");
  }
  const pending = new PendingChanges(guard, store, history);
  const status = new CoordinatorStatus({ guard, store, pending, peers: () => peers?.status() ?? [] });
  const shared = {
    identity,
    attester,
    log,
    requests: new Budget(limits.requests),
    turns: new KeyedSemaphore(limits.turns),
  };
  const servers = [
    await listen(
      {
        ...shared,
        limits: limits.user,
        observer: metrics.connections("user"),
        appraise: appraiseUser,
        serve: (methods, user) => serveUserApi(methods, user, { guard, history, pending, status, metrics, audit, log }),
        accountOf: (user) => ownerAccount(guard, user),
      },
      USER_API_PORT,
      address,
    ),
    await listen(
      {
        ...shared,
        limits: limits.mesh,
        observer: metrics.connections("mesh"),
        appraise: appraiseWorkload(mesh),
        serve: (methods, workload) => serveMeshApi(methods, workload, mesh),
        accountOf: (workload) => peerAccount(guard, workload),
      },
      MESH_API_PORT,
      address,
    ),
  ];
  const transit = await TransitPort.listen(
    {
      guard,
      keys: await generateEcKey("P-256"),
      clock,
      now,
      random: randomBytes,
      limits: limits.transit,
      turns: shared.turns,
      log,
      observer: metrics.connections("transit"),
      answered: transitObserver({ guard, metrics, audit }),
    },
    TRANSIT_PORT,
    address,
  );
  const attest = await startAttestPort(
    {
      guard,
      history,
      pending,
      requests: shared.requests,
      audit,
      attester: tee,
      vendors,
      now: () => clock.now(),
      monotonic,
      random: randomBytes,
      limits: limits.attest,
      turns: shared.turns,
      metrics,
      log,
    },
    ATTEST_PORT,
    address,
  );
  const http = createProbes(guard, metrics.registry, log);
  const health = healthMethods(guard);
  const probes = await listenForProbes({ http, methods: health, limits: limits.probes, log }, PROBE_PORT, address);
  const ports = {
    userApi: USER_API_PORT,
    attest: ATTEST_PORT,
    meshApi: MESH_API_PORT,
    transit: TRANSIT_PORT,
    probes: PROBE_PORT,
  };
  if (built === undefined)
    log.warn("the build time of this program is unknown: it can't detect a clock before the build");
  const hints: Partial<Record<Phase, string>> = { empty: "run contrast set", recovery: "run contrast recover" };
  const hint = hints[guard.phase];
  log.info({ state: guard.phase, hint, built: built?.toISOString(), ...ports, memory }, "ready");

  peers = store.shared
    ? startPeers({
        guard,
        store,
        hosts,
        keys,
        attester,
        allowInsecure,
        clock,
        vendors,
        now,
        monotonic,
        audit,
        log,
        own: hosts.length === 0 ? undefined : await ownLaunch(tee),
        listed: configuration.CONTRAST_PEER_POLICIES,
        cache: mesh.cache,
        serverKey: identity.keyDigest,
        random: Math.random,
        resolver: {
          lookup: (host) => lookup(host, { all: true }),
          own: () => [
            ...(address === undefined ? [] : [address]),
            ...Object.values(networkInterfaces()).flatMap((all = []) => all.map((one) => one.address)),
          ],
        },
      })
    : undefined;

  if (!stop.aborted) await once(stop, "abort");
  log.info("stopping");
  peers?.stop();
  stopTidying();
  probes.close();
  await Promise.all([...servers, transit, attest].map((server) => server.close(GRACE_MS)));
  audit.record({ event: "coordinator_stopped" });
  await auditLog.close();
  return EXIT.done;
}

/** What this VM is itself, which it compares its peers with. @throws EvidenceError where it can't know */
async function ownLaunch(tee: Attester): Promise<Own> {
  const identity = await ownIdentity({ attester: tee, tdxGuestDevice: TDX_GUEST_DEVICE, random: randomBytes });
  return ownOf(identity, tee, await tee.collect(randomBytes(64)));
}
