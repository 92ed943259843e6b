import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Writable } from "node:stream";
import { Clock } from "../../attestation/clock.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import type { Attester, SnpEvidence } from "../../attestation/evidence.ts";
import { EvidenceCache } from "../../attestation/evidence-cache.ts";
import { ownIdentity } from "../../attestation/own-identity.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../../attestation/simulated/attester.ts";
import { openTestVendor } from "../../attestation/simulated/test-vendor.ts";
import type { SimulatedVendor } from "../../attestation/simulated/vendor.ts";
import { toHex } from "../../bytes/encode.ts";
import type { ChannelLimits } from "../../channel/limits.ts";
import { type ChannelServer, listen } from "../../channel/server.ts";
import { selfSigned } from "../../channel/tls.ts";
import { type VerifiedClaimant, verifyStranger } from "../../manifest/appraise.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { Budget } from "../../runtime/budget.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import type { AuditEvent } from "../observe/audit-events.ts";
import { Metrics } from "../observe/metrics.ts";
import { coordinatorLimits } from "../serve/limits.ts";
import { appraiseWorkload, peerAccount, serveMeshApi } from "../serve/mesh-api.ts";
import { EncodedHistory } from "../state/encoded-history.ts";
import { StateGuard } from "../state/state-guard.ts";
import type { SharedStore } from "../state/test-shared-store.ts";
import { changeAfter, signedBy } from "../test-deployment.ts";
import type { SetRequest } from "../state/set.ts";
import { ownOf } from "./acceptance.ts";
import type { ListedPeer } from "./accept-peer.ts";
import { type PeerOptions, type RunningPeers, startPeers } from "./start.ts";

/** For tests: Coordinators of one process that share a store, with real connections and the evidence of a software TEE. */

const PORT = 7777;

export interface TestDeployment {
  readonly vendor: SimulatedVendor;
  readonly ownerKeys: KeyPair;
  readonly seedshareOwner: KeyPair;
  /** Launches a VM with this policy document. */
  readonly launch: (policy: Buffer, changes?: Partial<Launched>) => Promise<Attester<SnpEvidence>>;
  readonly remove: () => Promise<void>;
}

interface Launched {
  readonly vendor: SimulatedVendor;
}

export const COORDINATOR = Buffer.from("the policy of a Coordinator");
export const WORKLOAD = Buffer.from("the policy of a workload");

export async function makeDeployment(): Promise<TestDeployment> {
  const directory = await mkdtemp(join(tmpdir(), "peers-test-"));
  const vendor = await openTestVendor(join(directory, "vendor"), new Date("2026-01-01"));
  let launched = 0;
  return {
    vendor,
    ownerKeys: generateKeyPairSync("ec", { namedCurve: "P-256" }),
    seedshareOwner: generateKeyPairSync("rsa", { modulusLength: 2048 }),
    launch: async (policy, { vendor: by = vendor } = {}) => {
      const directoryOfVm = join(directory, `vm-${launched++}`);
      await by.launch(directoryOfVm, { hostData: createHash("sha256").update(policy).digest() });
      return openSimulatedAttester(directoryOfVm);
    },
    remove: () => rm(directory, { recursive: true }),
  };
}

export interface ManifestChanges {
  readonly name?: string;
  readonly coordinators?: readonly Buffer[];
  readonly rootDigest?: string;
  readonly owners?: readonly KeyPair[];
  /** Where left out, `coordinator`. */
  readonly role?: "";
}

/** A manifest with its policies, the Coordinators' and one workload's. */
export function manifestFor(deployment: TestDeployment, changes: ManifestChanges = {}) {
  const { name = "web", coordinators = [COORDINATOR], rootDigest = deployment.vendor.rootDigest } = changes;
  const { owners = [deployment.ownerKeys], role = "coordinator" } = changes;
  const digest = (policy: Buffer): string => createHash("sha256").update(policy).digest("hex");
  const document = {
    Policies: {
      ...Object.fromEntries(coordinators.map((policy) => [digest(policy), { SANs: [], Role: role }])),
      [digest(WORKLOAD)]: { SANs: [name], WorkloadSecretID: "web" },
    },
    ReferenceValues: { insecure: [{ RootDigest: rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
    WorkloadOwnerKeyDigests: owners.map(({ publicKey }) => toHex(spkiDigest(publicKey))),
    SeedshareOwnerPubKeys: [toHex(spki(deployment.seedshareOwner.publicKey))],
  };
  return { manifest: Buffer.from(JSON.stringify(document)), policies: [...coordinators, WORKLOAD] };
}

export interface TestCoordinator {
  readonly guard: StateGuard;
  readonly store: SharedStore;
  readonly attester: Attester<SnpEvidence>;
  readonly server: ChannelServer;
  readonly events: AuditEvent[];
  readonly log: Record<string, unknown>[];
  readonly peers: RunningPeers | undefined;
  /** A set by the owner after what is in force. */
  readonly set: (changes?: ManifestChanges) => ReturnType<StateGuard["set"]>;
  /** Ends as by kill -9: at once, without a word. */
  readonly kill: () => Promise<void>;
}

export interface CoordinatorChanges {
  readonly attester?: Attester<SnpEvidence>;
  readonly listed?: readonly ListedPeer[];
  readonly monotonic?: () => number;
  /** Undefined: it follows nobody by itself. */
  readonly peers?: readonly string[];
  readonly options?: Partial<PeerOptions>;
  readonly limits?: Partial<ChannelLimits>;
}

/** @param address loopback, of this Coordinator alone */
export async function startCoordinator(
  deployment: TestDeployment,
  store: SharedStore,
  address: string,
  changes: CoordinatorChanges = {},
): Promise<TestCoordinator> {
  const { attester = await deployment.launch(COORDINATOR), listed = [], peers: others } = changes;
  const { monotonic = () => performance.now() } = changes;
  const now = (): Date => new Date();
  const clock = new Clock({ now, built: () => undefined });
  let peers: RunningPeers | undefined;
  const hold = others !== undefined && others.length > 0;
  const sharing = { monotonic, hold, livePeers: () => peers?.live() ?? 1 };
  const guard = await StateGuard.load({
    store,
    allowInsecure: true,
    now: (manifest) => clock.now(manifest),
    random: randomBytes,
    sharing,
  });
  const events: AuditEvent[] = [];
  const audit = { record: (event: AuditEvent) => void events.push(event) };
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => (lines.push(JSON.parse(chunk.toString()) as never), done()),
  });
  const log = pino({ level: "debug" }, sink);
  const keys = await generateEcKey("P-256");
  const identity = await selfSigned(keys, now());
  const limits = coordinatorLimits(256 * 2 ** 20);
  const cache = new EvidenceCache();
  const metrics = new Metrics(guard, now);
  const history = new EncodedHistory(guard, limits.historyBytes);
  const mesh = {
    guard,
    history,
    allowInsecure: true,
    vendors: NO_VENDORS,
    cache,
    metrics,
    audit,
    clock,
    log,
    insecure: true,
  };
  const server = await listen(
    {
      identity,
      attester,
      log,
      requests: new Budget(limits.requests),
      turns: new KeyedSemaphore(limits.turns),
      limits: { ...limits.mesh, ...changes.limits },
      appraise: appraiseWorkload(mesh),
      serve: (methods, workload) => serveMeshApi(methods, workload, mesh),
      accountOf: (workload) => peerAccount(guard, workload),
    },
    PORT,
    address,
  );
  const evidence = await attester.collect(randomBytes(64));
  const own = ownOf(
    await ownIdentity({ attester, tdxGuestDevice: "/nowhere", random: randomBytes }),
    attester,
    evidence,
  );
  peers =
    others &&
    startPeers({
      guard,
      store,
      attester,
      keys,
      now,
      monotonic,
      audit,
      log,
      own,
      listed,
      clock,
      cache,
      allowInsecure: true,
      vendors: NO_VENDORS,
      serverKey: identity.keyDigest,
      random: () => 0,
      hosts: others.map((host) => ({ host, port: PORT })),
      resolver: { lookup: async (host) => [{ address: host }], own: () => [address] },
      ...changes.options,
    });
  return {
    guard,
    store,
    attester,
    server,
    events,
    peers,
    log: lines,
    set: (wanted) => guard.set(setRequest(deployment, guard, wanted)),
    async kill() {
      peers?.stop();
      await server.close(0);
    },
  };
}

export function setRequest(deployment: TestDeployment, guard: StateGuard, wanted: ManifestChanges = {}): SetRequest {
  const { manifest, policies } = manifestFor(deployment, wanted);
  const { ownerKeys } = deployment;
  const change = guard.known && changeAfter(guard.known, manifest);
  return {
    manifest,
    policies,
    latestTransition: undefined,
    callerKey: toHex(spkiDigest(ownerKeys.publicKey)),
    signatures: change === undefined ? [] : [signedBy(ownerKeys, change)],
    signedMeshKey: change?.meshKey,
    revoke: false,
  };
}

/** Resolves when it holds. The test's own time is the bound. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A Coordinator by the manifest of `manifestFor`, as its peers verify it. */
export async function verifiedCoordinator(deployment: TestDeployment, now: () => Date): Promise<VerifiedClaimant> {
  const reportData = randomBytes(64);
  const evidence = await (await deployment.launch(COORDINATOR)).collect(reportData);
  const roots = new Set([deployment.vendor.rootDigest]);
  const options = { allowInsecure: true, clock: new Clock({ now, built: () => undefined }), vendors: NO_VENDORS };
  return verifyStranger({ evidence, reportData }, roots, options);
}
