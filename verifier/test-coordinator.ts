import { generateKeyPairSync, sign } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { AttestAnswer } from "../api/http/answers.ts";
import type { SnpEvidence } from "../attestation/evidence.ts";
import { nonceTree } from "../attestation/nonce-tree.ts";
import { httpReportData } from "../attestation/report-data.ts";
import { signReport } from "../attestation/simulated/firmware.ts";
import { createTestVendor, makeEvidence, NOW, reportOf, type TestVendor } from "../attestation/snp/test-vendor.ts";
import { toBase64, toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { type Authority, createAuthority } from "../coordinator/state/authority.ts";
import { changeToSign } from "../manifest/change.ts";
import { encodeInitdata, policyHash } from "../manifest/initdata.ts";
import { encodeTransition, parseTransition, type Transition } from "../manifest/transition.ts";
import { generationOf } from "../manifest/transition-kind.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../pki/keys.ts";

/**
 * For tests: what answers over HTTP is made of the pieces that a Coordinator is made of, with a software TEE and without the
 * rest of the program, so that it can lie in one place and be right in all others.
 */

export { NOW };

export const COORDINATOR_POLICY = encodeInitdata("package agent_policy\n\ncoordinator := true\n");
export const WEB_POLICY = encodeInitdata("package agent_policy\n\nweb := true\n");
export const COORDINATOR_HASH = policyHash(COORDINATOR_POLICY);
export const WEB_HASH = policyHash(WEB_POLICY);

export const [ada, ben, eve] = [1, 2, 3].map(() => generateKeyPairSync("ec", { namedCurve: "P-256" })) as [
  KeyPair,
  KeyPair,
  KeyPair,
];

/** What it has in force. */
export interface TestState {
  readonly steps: readonly { readonly transition: Transition; readonly manifest: Buffer; readonly annex?: Buffer }[];
  readonly authority: Authority;
}

/** What is wrong with it. */
export interface Lies {
  readonly hostData?: string;
  readonly answer?: (answer: AttestAnswer) => object;
  /** @returns whether it was answered */
  readonly respond?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

export class TestCoordinator {
  readonly vendor: TestVendor;
  readonly #rootKey: KeyPair;
  readonly #now: Date;
  readonly #certificates: readonly Uint8Array[];
  state: TestState;
  lies: Lies = {};
  /** Paths that were asked for. */
  readonly asked: string[] = [];

  constructor(vendor: TestVendor, rootKey: KeyPair, state: TestState, now: Date) {
    this.vendor = vendor;
    this.#now = now;
    this.#rootKey = rootKey;
    this.#certificates = makeEvidence(vendor).certificates;
    this.state = state;
  }

  /** With one manifest. @param now when its CAs begin */
  static async create(changes: object = {}, now: Date = NOW): Promise<TestCoordinator> {
    const vendor = await createTestVendor("verifier");
    const rootKey = await generateEcKey("P-384");
    const manifest = manifestOf(vendor, changes);
    const fields = { previous: undefined, meshKey: undefined, signatures: [], seedShares: "bb".repeat(32) };
    const rootDigest = toHex(spkiDigest(rootKey.publicKey));
    const record = encodeTransition({ ...fields, manifest: sha256Hex(manifest), rootKey: rootDigest });
    const steps = [{ transition: parseTransition(record), manifest }];
    return new TestCoordinator(vendor, rootKey, { steps, authority: await authorityOf(rootKey, steps, now) }, now);
  }

  get manifest(): Buffer {
    return this.#latest.manifest;
  }

  get #latest(): TestState["steps"][number] {
    const latest = this.state.steps.at(-1);
    if (latest === undefined) throw new Error("no manifest");
    return latest;
  }

  manifestOf(changes: object): Buffer {
    return manifestOf(this.vendor, changes);
  }

  /** A set, signed by these. */
  async set(changes: object, signers: readonly KeyPair[] = [ada]): Promise<void> {
    const manifest = this.manifestOf(changes);
    const { transition } = this.#latest;
    const meshKey = spkiDigest(this.state.authority.meshKey.publicKey);
    const change = changeToSign({ manifest, previous: Buffer.from(transition.digest, "hex"), meshKey });
    const signatures = signers.map(({ publicKey, privateKey }) => ({
      publicKey: spki(publicKey),
      signature: sign("sha256", change, privateKey),
    }));
    // Other owners get other shares.
    const isSame = seedshareOwnersOf(manifest) === seedshareOwnersOf(this.manifest);
    const record = encodeTransition({
      manifest: sha256Hex(manifest),
      previous: transition.digest,
      ...(isSame ? { seedShares: transition.seedShares } : { seedShares: sha256Hex(manifest), version: 3 }),
      rootKey: transition.rootKey,
      meshKey: toHex(meshKey),
      signatures,
    });
    const steps = [...this.state.steps, { transition: parseTransition(record), manifest }];
    this.state = { steps, authority: await authorityOf(this.#rootKey, steps, this.#now) };
  }

  /** A recovery: the same history, another mesh CA. */
  async recover(): Promise<void> {
    this.state = { ...this.state, authority: await authorityOf(this.#rootKey, this.state.steps, this.#now) };
  }

  evidence(reportData: Uint8Array): SnpEvidence {
    const hostData = Buffer.from(this.lies.hostData ?? COORDINATOR_HASH, "hex");
    const fields = { ...reportOf("Milan", "vcek"), hostData, reportData: Buffer.from(reportData) };
    const report = signReport(fields, this.vendor.endorsement.privateKey);
    return { kind: "snp", report, certificates: this.#certificates };
  }

  /** @param nonces the first one is answered; the others are those of other verifiers at the same time */
  attest(nonces: readonly Buffer[]): AttestAnswer {
    const { steps, authority } = this.state;
    const { root, paths } = nonceTree(nonces);
    const { transition } = this.#latest;
    const { report, certificates } = this.evidence(
      httpReportData({
        treeRoot: root,
        transition: Buffer.from(transition.digest, "hex"),
        rootKey: spkiDigest(authority.rootKey.publicKey),
        meshKey: spkiDigest(authority.meshKey.publicKey),
      }),
    );
    return {
      version: 1,
      nonce: nonces[0]?.toString("hex") ?? "",
      path: (paths[0] ?? []).map(({ side, digest }) => ({ side, digest: Buffer.from(digest).toString("hex") })),
      evidence: { kind: "snp", report: toBase64(report), certificates: certificates.map((der) => toBase64(der)) },
      rootCa: authority.rootCa,
      meshCa: authority.meshCa,
      transition: Buffer.from(transition.record).toString("base64"),
      history: steps.map(({ transition: { digest, manifest, annex = null } }) => ({
        transition: digest,
        manifest,
        annex,
      })),
    };
  }

  /** Listens on a free port of this address. @returns the server, and its URL */
  async listen(address: string): Promise<{ readonly server: Server; readonly url: string }> {
    const server = createServer((request, response) => {
      void this.#serve(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return { server, url: `http://${address}:${(server.address() as AddressInfo).port}` };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "";
    this.asked.push(path);
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Allow-Headers", "Content-Type");
    if (request.method === "OPTIONS") {
      response.writeHead(204).end();
      return;
    }
    if (this.lies.respond?.(request, response) === true) return;
    const body = path === "/v1/attest" ? await this.#attested(request) : this.#document(path);
    if (body === undefined) {
      const problem = {
        type: "about:blank",
        title: "Not Found",
        status: 404,
        code: "not_found",
        detail: "nothing here",
      };
      response.writeHead(404, { "content-type": "application/problem+json" }).end(JSON.stringify(problem));
      return;
    }
    const isDocument = body instanceof Uint8Array;
    const type = isDocument ? "application/octet-stream" : "application/json";
    response.writeHead(200, { "content-type": type }).end(isDocument ? body : JSON.stringify(body));
  }

  async #attested(request: IncomingMessage): Promise<object> {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const { nonce } = JSON.parse(text) as { nonce: string };
    const others = [1, 2, 3, 4].map((number) => Buffer.alloc(32, number));
    const answer = this.attest([Buffer.from(nonce, "hex"), ...others]);
    return this.lies.answer?.(answer) ?? answer;
  }

  #document(path: string): object | undefined {
    const { steps } = this.state;
    if (path === "/v1/history") {
      const transitions = steps.map(({ transition }) => Buffer.from(transition.record).toString("base64"));
      return { version: 1, transitions };
    }
    const [, kind = "", digest = ""] = /^\/v1\/(\w+)\/([0-9a-f]{64})$/.exec(path) ?? [];
    const documents =
      { manifests: steps.map(({ manifest }) => manifest), policies: [COORDINATOR_POLICY, WEB_POLICY] }[kind] ?? [];
    return documents.find((bytes) => sha256Hex(bytes) === digest);
  }
}

function manifestOf({ rootDigest }: TestVendor, changes: object): Buffer {
  const measurement = toHex(reportOf("Milan", "vcek").measurement);
  const document = {
    Policies: {
      [COORDINATOR_HASH]: { SANs: ["coordinator"], Role: "coordinator" },
      [WEB_HASH]: { SANs: ["web"], WorkloadSecretID: "web" },
    },
    ReferenceValues: { insecure: [{ RootDigest: rootDigest, TrustedMeasurement: measurement }] },
    WorkloadOwnerKeyDigests: [ada, ben].map(({ publicKey }) => toHex(spkiDigest(publicKey))),
    SeedshareOwnerPubKeys: [],
    ...changes,
  };
  return Buffer.from(JSON.stringify(document));
}

async function authorityOf(rootKey: KeyPair, steps: TestState["steps"], now: Date): Promise<Authority> {
  const meshKey = await generateEcKey("P-256");
  const generation = {
    number: generationOf(steps.map(({ transition }) => transition)),
    manifest: steps.at(-1)?.transition.manifest ?? "",
  };
  return createAuthority({ rootKey, meshKey, generation, certificateLifetimeMs: 24 * 3_600_000 }, now);
}

function seedshareOwnersOf(manifest: Buffer): string {
  return JSON.stringify((JSON.parse(manifest.toString()) as Record<string, unknown>)["SeedshareOwnerPubKeys"]);
}
