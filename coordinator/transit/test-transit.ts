import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { type Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Clock } from "../../attestation/clock.ts";
import { toHex } from "../../bytes/encode.ts";
import { grantExtensions } from "../../manifest/grant-extensions.ts";
import { TRANSIT_NAME } from "../../manifest/reserved-names.ts";
import { generateEcKey, privateKeyPem, spki, spkiDigest } from "../../pki/keys.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { FileStore } from "../../store/file-store.ts";
import { coordinatorLimits } from "../serve/limits.ts";
import { type Authority, issueChain } from "../state/authority.ts";
import { StateGuard } from "../state/state-guard.ts";
import type { SetRequest, SetResult } from "../state/set.ts";
import {
  changeAfter,
  owner,
  ownerKeys,
  recoverRequest,
  seedshareOwners,
  setRequest,
  signedBy,
} from "../test-deployment.ts";
import type { TransitLimits } from "./limits.ts";
import { type Answered, TransitPort } from "./transit-port.ts";

/** For tests: the transit port of a Coordinator in this process, and workloads of it as clients of real TLS. */

export interface Entry {
  readonly sans?: readonly string[];
  readonly id?: string;
  readonly transit?: { readonly LatestVersion?: number; readonly MinimumVersion?: number };
}

export type Entries = Readonly<Record<string, Entry>>;

/** Two workloads with keys, and one without. */
export const WORKLOADS: Entries = {
  vault: { id: "vault_unsealing" },
  shop: { id: "apps/v1/Deployment/shop/web" },
  bare: {},
};

export interface ClientFiles {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** What it trusts. */
  readonly ca: string;
}

export interface Reply {
  readonly status: number;
  readonly body: { readonly errors?: string[]; readonly data?: Readonly<Record<string, unknown>> };
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly agent?: Agent;
  /** From where, as another pod has another address. */
  readonly localAddress?: string;
  /** As with `curl -k`. */
  readonly insecure?: boolean;
}

export interface TestTransit {
  /** Of the state. */
  readonly directory: string;
  readonly guard: () => StateGuard;
  readonly port: () => TransitPort & { readonly port: number };
  readonly answered: Answered[];
  readonly log: Record<string, unknown>[];
  /** How many connections the port has. */
  readonly open: () => number;
  /** Milliseconds that the Coordinator's clock is ahead. */
  ahead: number;
  /** A set by the owner. */
  readonly set: (
    entries?: Entries,
    changes?: { overlap?: string; secretOverlap?: string; rekey?: boolean },
  ) => Promise<SetResult>;
  /** Ends this Coordinator, and starts another with the same state, which needs recovery. */
  readonly restart: () => Promise<void>;
  readonly recover: () => Promise<void>;
  readonly enroll: (workload: string, changes?: EnrollChanges) => Promise<ClientFiles>;
  readonly ask: (client: Partial<ClientFiles>, path: string, body?: unknown, options?: AskOptions) => Promise<Reply>;
  readonly remove: () => Promise<void>;
}

export interface EnrollChanges {
  readonly authority?: Authority;
  readonly now?: Date;
  /** In place of what the manifest grants. */
  readonly granted?: { readonly policy: string; readonly workloadSecretId: string | undefined };
}

export const policyOf = (workload: string): Uint8Array => Buffer.from(`the policy of ${workload}`);
export const hashOf = (workload: string): string => createHash("sha256").update(policyOf(workload)).digest("hex");

export const encryptPath = (id: string): string => `/v1/transit/encrypt/${id}`;
export const decryptPath = (id: string): string => `/v1/transit/decrypt/${id}`;
export const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** @param address loopback, nobody else's */
export async function startTransit(address: string, changes: Partial<TransitLimits> = {}): Promise<TestTransit> {
  const directory = await mkdtemp(join(tmpdir(), "transit-test-"));
  const answered: Answered[] = [];
  const log: Record<string, unknown>[] = [];
  const logger = pino(
    { level: "debug" },
    { write: (line: string) => log.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const now = (): Date => new Date(Date.now() + test.ahead);
  const limits = coordinatorLimits(256 * 2 ** 20);
  let entries = WORKLOADS;
  let store: FileStore;
  let guard: StateGuard;
  let port: TransitPort & { readonly port: number };

  const start = async (): Promise<void> => {
    store = await FileStore.open(directory, { pid: process.pid, host: "test", since: now() });
    guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes });
    const options = {
      guard,
      keys: await generateEcKey("P-256"),
      clock: new Clock({ now, built: () => undefined }),
      now,
      random: randomBytes,
      limits: { ...limits.transit, ...changes },
      turns: new KeyedSemaphore(limits.turns),
      log: logger,
      observer: { connectionsOpen: (count: number) => void (open = count), connectionRefused: () => undefined },
      answered: (one: Answered) => answered.push(one),
    };
    port = await TransitPort.listen(options, 8200, address);
  };
  const stop = async (): Promise<void> => {
    await port.close(0);
    store.close();
  };
  let last: SetResult | undefined;
  let open = 0;
  const test: TestTransit = {
    guard: () => guard,
    port: () => port,
    directory,
    answered,
    log,
    open: () => open,
    ahead: 0,
    set: async (next = entries, { overlap, secretOverlap, rekey = false } = {}) => {
      entries = next;
      const manifest = manifestOf(next, { MeshCAOverlap: overlap, WorkloadSecretOverlap: secretOverlap });
      const after = guard.phase === "empty" ? undefined : guard;
      const request = setRequest({ manifest, policies: Object.keys(next).map(policyOf) }, after);
      last = await guard.set(rekey ? rekeyOf(guard, request) : request);
      return last;
    },
    restart: async () => {
      await stop();
      await start();
    },
    recover: async () => {
      if (last === undefined) fail();
      await guard.recover(recoverRequest(last.snapshot));
    },
    enroll: async (workload, { authority, granted, now: at } = {}) => {
      const keys = await generateEcKey("P-256");
      const { authority: inForce } = guard.active();
      const entry = entries[workload] ?? fail();
      const grants = granted ?? { policy: hashOf(workload), workloadSecretId: entry.id };
      const leaf = {
        publicKey: keys.publicKey,
        names: (entry.sans ?? [workload]).map((value) => ({ kind: "dns", value }) as const),
        extensions: grantExtensions(grants),
      };
      const by = authority ?? inForce;
      return { cert: issueChain(by, leaf, at ?? now()), key: privateKeyPem(keys.privateKey), ca: inForce.meshCa };
    },
    ask: (client, path, body, options) => ask(address, client, path, body, options),
    remove: async () => {
      await stop();
      await rm(directory, { recursive: true });
    },
  };
  await start();
  return test;
}

function fail(): never {
  throw new Error("there is none");
}

/** The same for a new seed. */
function rekeyOf(guard: StateGuard, request: SetRequest): SetRequest {
  const newRootKey = spkiDigest(guard.prepareRekey().engine.rootKey.publicKey);
  const change = { ...changeAfter(guard.active(), request.manifest), newRootKey };
  return { ...request, signatures: [signedBy(ownerKeys, change)], newRootKey };
}

/** @param others keys beside those that every manifest has */
export function manifestOf(entries: Entries, others: object = {}): Uint8Array {
  const document = {
    Policies: Object.fromEntries(
      Object.entries(entries).map(([name, { sans = [name], id, transit }]) => [
        hashOf(name),
        { SANs: sans, ...(id !== undefined && { WorkloadSecretID: id }), ...(transit && { Transit: transit }) },
      ]),
    ),
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: [owner],
    SeedshareOwnerPubKeys: [toHex(spki((seedshareOwners[0] ?? fail()).publicKey))],
    ...others,
  };
  return Buffer.from(JSON.stringify(document));
}

/** Sends one request to a transit port. */
export function ask(
  address: string,
  client: Partial<ClientFiles>,
  path: string,
  body?: unknown,
  options: AskOptions = {},
): Promise<Reply> {
  const { method = "POST", headers = {}, insecure = false, agent = false as const, localAddress } = options;
  const bytes =
    body === undefined
      ? undefined
      : body instanceof Uint8Array
        ? body
        : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: address,
        port: 8200,
        path,
        method,
        agent,
        localAddress,
        servername: TRANSIT_NAME,
        rejectUnauthorized: !insecure,
        ...client,
        headers: { ...(bytes !== undefined && { "content-length": bytes.length }), ...headers },
      },
      (response) => {
        const pieces: Uint8Array[] = [];
        response.on("data", (piece: Uint8Array) => pieces.push(piece));
        response.on("end", () => {
          const text = Buffer.concat(pieces).toString();
          const parsed = text === "" ? {} : (JSON.parse(text) as Reply["body"]);
          resolve({ status: response.statusCode ?? 0, text, headers: response.headers, body: parsed });
        });
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(bytes);
  });
}
