import type { Server } from "@grpc/grpc-js";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EndorsementCache } from "../attestation/endorsements/cache.ts";
import { completeEvidence } from "../attestation/endorsements/complete.ts";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { EvidenceCache } from "../attestation/evidence-cache.ts";
import type { Evidence } from "../attestation/evidence.ts";
import { insecureReason, openAttester, teeConstraints, teeVariables } from "../attestation/open.ts";
import { listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import { ipAddress, oneOf, path } from "../runtime/variables.ts";
import { VERSION } from "../runtime/version.ts";
import { AuditLog } from "./audit.ts";
import type { Audit } from "./audit-events.ts";
import { auditVariables, openAuditSink } from "./audit-sink.ts";
import { FileStore } from "./file-store.ts";
import { serveHealth } from "./health.ts";
import { MESH_LIMITS, PROBE_LIMITS, USER_LIMITS } from "./limits.ts";
import { appraiseWorkload, serveMeshApi } from "./mesh-api.ts";
import { Metrics } from "./metrics.ts";
import { listenForProbes } from "./probe-port.ts";
import { createProbes } from "./probes.ts";
import { StateGuard } from "./state-guard.ts";
import { appraiseUser, serveUserApi } from "./user-api.ts";

const USER_API_PORT = 1313;
const MESH_API_PORT = 7777;
const PROBE_PORT = 9102;

/** How long the audit log counts refusals before it tells of those without a line, in milliseconds. */
const AUDIT_WINDOW_MS = 60_000;

/** How long requests may go on after SIGTERM, in milliseconds. */
const GRACE_MS = 5000;

const variables = {
  CONTRAST_STATE_DIR: path("/var/lib/contrast", "where the history is kept"),
  CONTRAST_STATE_STORE: oneOf(["file"], "file", "how the history is kept"),
  CONTRAST_LISTEN_ADDRESS: ipAddress(undefined, "the address of all ports (default: every address)"),
  ...auditVariables,
  ...endorsementVariables,
  ...teeVariables,
} as const;

await runProgram(
  {
    name: "coordinator",
    summary: "attests workloads against the manifest and is their certificate authority",
    variables,
    constraints: teeConstraints,
    insecure: insecureReason,
    run,
  },
  process,
);

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const now = (): Date => new Date();
  const allowInsecure = configuration.CONTRAST_ALLOW_INSECURE;
  const network = { fetch, now, random: Math.random, sleep: delay };
  const attester = await openAttester(configuration, network);
  const holder = { pid: process.pid, host: hostname(), since: now() };
  const store = await FileStore.open(configuration.CONTRAST_STATE_DIR, holder);
  const guard = await StateGuard.load({ store, allowInsecure, now, random: randomBytes });
  store.watch(() => {
    const hint = "restore backups while the Coordinator is stopped";
    log.error({ hint }, "somebody else changed the history on the disk: the manifest in force stays, set is refused");
  });
  const identity = await selfSigned(await generateEcKey("P-256"), now());
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
  const complete = (evidence: Evidence): Promise<Evidence> => completeEvidence(evidence, endorsements);
  const mesh = { guard, allowInsecure, complete, cache: new EvidenceCache(), metrics, audit, now, log };
  audit.record({ event: "coordinator_started", version: VERSION, phase: guard.phase });
  const servers = [
    await listen(
      {
        identity,
        attester,
        log,
        limits: USER_LIMITS,
        observer: metrics.connections("user"),
        appraise: appraiseUser,
        serve: (server, user) => serveUserApi(server, user, { guard, metrics, audit, log }),
      },
      USER_API_PORT,
      address,
    ),
    await listen(
      {
        identity,
        attester,
        log,
        limits: MESH_LIMITS,
        observer: metrics.connections("mesh"),
        appraise: appraiseWorkload(mesh),
        serve: (server, workload) => serveMeshApi(server, workload, mesh),
      },
      MESH_API_PORT,
      address,
    ),
  ];
  const http = createProbes(guard, metrics.registry, log);
  const serve = (server: Server): void => serveHealth(server, guard);
  const probes = await listenForProbes({ http, serve, limits: PROBE_LIMITS }, PROBE_PORT, address);
  log.info({ state: guard.phase, userApi: USER_API_PORT, meshApi: MESH_API_PORT, probes: PROBE_PORT }, "ready");

  if (!stop.aborted) await once(stop, "abort");
  log.info("stopping");
  probes.close();
  await Promise.all(servers.map((server) => server.close(GRACE_MS)));
  audit.record({ event: "coordinator_stopped" });
  await auditLog.close();
  return EXIT.done;
}
