import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EndorsementCache } from "../attestation/endorsements/cache.ts";
import { completeEvidence } from "../attestation/endorsements/complete.ts";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { EvidenceCache } from "../attestation/evidence-cache.ts";
import type { Evidence } from "../attestation/evidence.ts";
import { insecureReason, openAttester, teeConstraints, teeVariables } from "../attestation/open.ts";
import { cannotListen } from "../channel/error.ts";
import { listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import { EXIT, type Running, runProgram } from "../runtime/program.ts";
import { ipAddress, oneOf, path } from "../runtime/variables.ts";
import { appraiseWorkload, serveMeshApi } from "./mesh-api.ts";
import { Metrics } from "./metrics.ts";
import { createProbes } from "./probes.ts";
import { StateGuard } from "./state-guard.ts";
import { FileStore } from "./store.ts";
import { appraiseUser, serveUserApi } from "./user-api.ts";

const USER_API_PORT = 1313;
const MESH_API_PORT = 7777;
const PROBE_PORT = 9102;

/** How long requests may go on after SIGTERM, in milliseconds. */
const GRACE_MS = 5000;

const LIMITS = { handshakeMs: 10_000, idleMs: 30_000, ageMs: 5 * 60_000 } as const;
const USER_LIMITS = { ...LIMITS, connections: 32, messageBytes: 16 * 1024 * 1024 } as const;
const MESH_LIMITS = { ...LIMITS, connections: 1024, messageBytes: 64 * 1024 } as const;

const variables = {
  CONTRAST_STATE_DIR: path("/var/lib/contrast", "where the history is kept"),
  CONTRAST_STATE_STORE: oneOf(["file"], "file", "how the history is kept"),
  CONTRAST_LISTEN_ADDRESS: ipAddress(undefined, "the address of all ports (default: every address)"),
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
  const store = await FileStore.open(configuration.CONTRAST_STATE_DIR);
  const guard = await StateGuard.load({ store, allowInsecure, now, random: randomBytes });
  const identity = await selfSigned(await generateEcKey("P-256"), now());
  const address = configuration.CONTRAST_LISTEN_ADDRESS;

  const metrics = new Metrics(() => (guard.phase === "active" ? guard.active().generation : 0));
  const endorsements = new EndorsementCache({
    network,
    directory: join(configuration.CONTRAST_STATE_DIR, "endorsements"),
    proxy: configuration.CONTRAST_COLLATERAL_PROXY,
    onWarning: (message, url, error) => log.warn({ url: url.href }, `${message}: ${describeError(error)}`),
  });
  const complete = (evidence: Evidence): Promise<Evidence> => completeEvidence(evidence, endorsements);
  const mesh = { guard, allowInsecure, complete, cache: new EvidenceCache(), metrics, now, log };
  const servers = [
    await listen(
      {
        identity,
        attester,
        log,
        limits: USER_LIMITS,
        appraise: appraiseUser,
        serve: (server, user) => serveUserApi(server, user, { guard, metrics, log }),
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
        appraise: appraiseWorkload(mesh),
        serve: (server, workload) => serveMeshApi(server, workload, mesh),
      },
      MESH_API_PORT,
      address,
    ),
  ];
  const probes = createProbes(guard, metrics, log).listen(PROBE_PORT, address);
  await once(probes, "listening").catch((cause: unknown) => {
    throw cannotListen(PROBE_PORT, address, cause);
  });
  log.info({ state: guard.phase, userApi: USER_API_PORT, meshApi: MESH_API_PORT, probes: PROBE_PORT }, "ready");

  if (!stop.aborted) await once(stop, "abort");
  log.info("stopping");
  probes.close();
  await Promise.all(servers.map((server) => server.close(GRACE_MS)));
  return EXIT.done;
}
