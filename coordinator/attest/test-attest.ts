import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { AttestAnswer } from "../../api/http/answers.ts";
import { Clock } from "../../attestation/clock.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import type { ChipVendors } from "../../attestation/endorsements/vendors.ts";
import type { Attester, Evidence } from "../../attestation/evidence.ts";
import { rootOf } from "../../attestation/nonce-tree.ts";
import { httpReportData } from "../../attestation/report-data.ts";
import { type VerifiedClaimant, verifyStranger } from "../../manifest/appraise.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { Budget } from "../../runtime/budget.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { FileStore } from "../../store/file-store.ts";
import type { Store } from "../../store/store.ts";
import type { AuditEvent } from "../observe/audit-events.ts";
import { Metrics } from "../observe/metrics.ts";
import {
  COORDINATOR,
  makeDeployment,
  type ManifestChanges,
  setRequest,
  type TestDeployment,
} from "../peers/test-coordinator.ts";
import { coordinatorLimits } from "../serve/limits.ts";
import { EncodedHistory } from "../state/encoded-history.ts";
import { PendingChanges } from "../state/pending-changes.ts";
import type { SetResult } from "../state/set.ts";
import type { Sharing } from "../state/standing.ts";
import { StateGuard } from "../state/state-guard.ts";
import { recoverRequest } from "../test-deployment.ts";
import type { AttestPort } from "./attest-port.ts";
import type { AttestLimits } from "./limits.ts";
import { startAttestPort } from "./start.ts";

/** For tests: the attestation port of a Coordinator in this process, with a software TEE, and a verifier of its answers. */

export const PORT = 1314;

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
  readonly text: string;
  /** Undefined where it is no JSON. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: string | Buffer;
  readonly localAddress?: string;
}

export interface TestAttest {
  readonly deployment: TestDeployment;
  readonly address: string;
  readonly guard: () => StateGuard;
  readonly port: () => AttestPort;
  readonly metrics: () => Promise<string>;
  readonly log: Record<string, unknown>[];
  readonly audited: AuditEvent[];
  /** What large requests take of the memory. */
  readonly requests: () => Budget;
  /** How many reports were made, whoever asked. */
  readonly reports: () => number;
  readonly set: (changes?: ManifestChanges) => Promise<SetResult>;
  /** Ends this Coordinator, and starts another with the same state, which needs recovery. */
  readonly restart: () => Promise<void>;
  readonly recover: () => Promise<unknown>;
  readonly ask: (path: string, options?: AskOptions) => Promise<Reply>;
  /** Asks for evidence. @param nonce hex; one that was just drawn, where left out */
  readonly attest: (nonce?: string, options?: AskOptions) => Promise<Reply>;
  readonly verify: (nonce: string, answer: unknown) => Promise<VerifiedClaimant>;
  readonly remove: () => Promise<void>;
}

export interface AttestChanges {
  readonly limits?: Partial<AttestLimits>;
  /** In place of the software TEE, which it is given. */
  readonly attester?: (own: Attester) => Attester;
  readonly vendors?: ChipVendors;
  /** With a store that several Coordinators have. */
  readonly shared?: { readonly store: Store; readonly sharing: Sharing };
  readonly now?: () => Date;
  /** Those of the whole process. */
  readonly turns?: KeyedSemaphore;
}

/** @param address loopback, nobody else's */
export async function startAttest(address: string, changes: AttestChanges = {}): Promise<TestAttest> {
  const { now = () => new Date() } = changes;
  const deployment = await makeDeployment();
  const directory = await mkdtemp(join(tmpdir(), "attest-test-"));
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: "debug" }, { write: (line: string) => void log.push(JSON.parse(line) as never) });
  const limits = coordinatorLimits(256 * 2 ** 20);
  const own = await deployment.launch(COORDINATOR);
  const clock = new Clock({ now, built: () => undefined });
  let reports = 0;
  const counting: Attester = {
    insecure: own.insecure,
    collect: (reportData) => {
      reports += 1;
      return own.collect(reportData);
    },
  };
  const attester = changes.attester?.(counting) ?? counting;
  let store: Store;
  let guard: StateGuard;
  let port: AttestPort;
  let metrics: Metrics;
  let requests: Budget;
  const audited: AuditEvent[] = [];
  let last: SetResult | undefined;

  const start = async (): Promise<void> => {
    store =
      changes.shared?.store ?? (await FileStore.open(directory, { pid: process.pid, host: "test", since: now() }));
    const sharing = changes.shared?.sharing;
    guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
    metrics = new Metrics(guard, now);
    requests = new Budget(limits.requests);
    const history = new EncodedHistory(guard, limits.historyBytes);
    port = await startAttestPort(
      {
        guard,
        history,
        pending: new PendingChanges(guard, store, history),
        requests,
        audit: { record: (event) => void audited.push(event) },
        attester,
        vendors: changes.vendors ?? NO_VENDORS,
        now,
        monotonic: () => performance.now(),
        random: randomBytes,
        limits: { ...limits.attest, ...changes.limits },
        turns: changes.turns ?? new KeyedSemaphore(limits.turns),
        metrics,
        log: logger,
      },
      PORT,
      address,
    );
  };
  const stop = async (): Promise<void> => {
    await port.close(0);
    if (store instanceof FileStore) store.close();
  };
  const ask = (path: string, options?: AskOptions): Promise<Reply> => askAt(address, path, options);
  await start();
  return {
    deployment,
    address,
    log,
    audited,
    requests: () => requests,
    ask,
    guard: () => guard,
    port: () => port,
    metrics: () => metrics.registry.metrics(),
    reports: () => reports,
    set: async (wanted) => {
      last = await guard.set(setRequest(deployment, guard, wanted));
      return last;
    },
    restart: async () => {
      await stop();
      await start();
    },
    recover: async () => {
      if (last === undefined) throw new Error("nothing was set");
      return guard.recover(recoverRequest(last.snapshot, deployment.seedshareOwner));
    },
    attest: (nonce = drawNonce(), options) => ask("/v1/attest", { ...asking(nonce), ...options }),
    verify: (nonce, answer) => verifyAnswer(nonce, answer, deployment.vendor.rootDigest, clock),
    remove: async () => {
      await stop();
      await deployment.remove();
      await rm(directory, { recursive: true });
    },
  };
}

/** 32 bytes, hex. */
export function drawNonce(): string {
  return randomBytes(32).toString("hex");
}

export function asking(nonce: string): AskOptions {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ nonce }) };
}

export function askAt(address: string, path: string, options: AskOptions = {}): Promise<Reply> {
  const { method = "GET", headers = {}, body, localAddress } = options;
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const sent = request(
      { host: address, port: PORT, path, method, agent: false, localAddress, headers: { ...length, ...headers } },
      (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.on("error", reject);
        response.on("end", () => {
          const bytes = Buffer.concat(pieces);
          const text = bytes.toString();
          const isJson = /json/.test(response.headers["content-type"] ?? "") && text !== "";
          const parsed = isJson ? (JSON.parse(text) as Record<string, unknown>) : undefined;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, text, body: parsed });
        });
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/**
 * What a verifier without a manifest decides by the code that decides in earnest: real, and made for this nonce and what the
 * answer says is in force.
 *
 * @throws as the schema, `rootOf` and `verifyStranger`
 */
export async function verifyAnswer(
  nonce: string,
  answer: unknown,
  rootDigest: string,
  clock: Clock,
): Promise<VerifiedClaimant> {
  const { path, evidence, rootCa, meshCa, transition } = AttestAnswer.parse(answer);
  const steps = path.map(({ side, digest }) => ({ side, digest: Buffer.from(digest, "hex") }));
  const reportData = httpReportData({
    treeRoot: rootOf(Buffer.from(nonce, "hex"), steps),
    transition: createHash("sha256").update(Buffer.from(transition, "base64")).digest(),
    rootKey: spkiDigest(new X509Certificate(rootCa).publicKey),
    meshKey: spkiDigest(new X509Certificate(meshCa).publicKey),
  });
  return verifyStranger({ evidence: fromJson(evidence), reportData: Buffer.from(reportData) }, new Set([rootDigest]), {
    allowInsecure: true,
    clock,
    vendors: NO_VENDORS,
  });
}

/** Evidence as it came in an answer. */
export function fromJson(evidence: AttestAnswer["evidence"]): Evidence {
  const bytes = (text: string): Buffer => Buffer.from(text, "base64");
  if (evidence.kind === "snp") {
    const { report, certificates, crl } = evidence;
    const list = crl === undefined ? {} : { crl: bytes(crl) };
    return { kind: "snp", report: bytes(report), certificates: certificates.map(bytes), ...list };
  }
  const { quote, collateral: found } = evidence;
  if (found === undefined) return { kind: "tdx", quote: bytes(quote) };
  const { tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl } = found;
  const collateral = {
    tcbInfo: bytes(tcbInfo),
    qeIdentity: bytes(qeIdentity),
    signingChain: bytes(signingChain),
    pckCrl: bytes(pckCrl),
    rootCrl: bytes(rootCrl),
  };
  return { kind: "tdx", quote: bytes(quote), collateral };
}
