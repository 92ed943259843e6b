import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { identityOf } from "../../attestation/identity.ts";
import { AMD_ROOTS, simulatedRoots } from "../../attestation/snp/roots.ts";
import * as snp from "../../attestation/snp/test-vendor.ts";
import { verifySnp } from "../../attestation/snp/verify.ts";
import * as tdx from "../../attestation/tdx/test-vendor.ts";
import { verifyTdx } from "../../attestation/tdx/verify.ts";
import type { VerifiedEvidence } from "../../attestation/tee.ts";
import { requireUnexposed } from "../serve/peer-api.ts";
import { acceptPeer, type Attested } from "./accept-peer.ts";

/** Peers by evidence of hardware: that of vendors of our own, whom the verifier takes for AMD and Intel, and recorded one. */

let amd: snp.TestVendor;
let intel: tdx.TestVendor;

beforeAll(async () => {
  [amd, intel] = await Promise.all([snp.createTestVendor(), tdx.createTestVendor()]);
});

const attested = (evidence: VerifiedEvidence): Attested => ({ ...identityOf(evidence), simulated: evidence.simulated });

function ofSnp(scenario: snp.Scenario = {}): VerifiedEvidence {
  const { product = "Milan" } = scenario;
  return verifySnp(snp.makeEvidence(amd, scenario), { trustAnchors: snp.asVendorRoot(amd, product), at: snp.NOW });
}

function ofTdx(scenario: tdx.Scenario = {}): VerifiedEvidence {
  return verifyTdx(tdx.makeEvidence(intel, scenario), { trustAnchors: new Set([intel.rootDigest]), at: tdx.NOW });
}

const POLICY = 0x30000n;
const register = (byte: number): Buffer => Buffer.alloc(48, byte);
const { rtmrs, tdAttributes } = tdx.bodyOf(4);
const refused = expect.objectContaining({ code: "peer_not_accepted" }) as unknown;

test("a peer on another chip, of another product, with another VM of the same launch is accepted", () => {
  const own = attested(ofSnp());
  acceptPeer(own, attested(ofSnp({ report: { reportId: Buffer.alloc(32, 9) } })), []);
  acceptPeer(own, attested(ofSnp({ product: "Genoa" })), []);
  acceptPeer(own, attested(ofSnp({ product: "Turin" })), []);
  acceptPeer(attested(ofTdx()), attested(ofTdx({ version: 5 })), []);
});

test.each<[string, snp.Scenario]>([
  ["another image", { report: { measurement: register(1) } }],
  ["another policy", { report: { hostData: Buffer.alloc(32, 1) } }],
  ["a debug policy", { report: { policy: POLICY | (1n << 19n) } }],
  ["a migration agent", { report: { policy: POLICY | (1n << 18n) } }],
])("SNP: a peer with %s is not accepted", (_what, scenario) => {
  expect(() => acceptPeer(attested(ofSnp()), attested(ofSnp(scenario)), [])).toThrow(refused);
});

test.each<[string, tdx.Scenario]>([
  ["another firmware", { body: { mrTd: register(1) } }],
  ...rtmrs.map((_, index): [string, tdx.Scenario] => [
    `another RTMR ${index}`,
    { body: { rtmrs: rtmrs.map((rtmr, at) => (at === index ? register(0x77) : rtmr)) } },
  ]),
  ["two RTMRs exchanged", { body: { rtmrs: [rtmrs[1] ?? register(0), rtmrs[0] ?? register(0), ...rtmrs.slice(2)] } }],
  ["another policy", { body: { mrConfigId: Buffer.concat([Buffer.alloc(32, 1)], 48) } }],
  ["a debug attribute", { body: { tdAttributes: tdAttributes | 1n } }],
  ["a profiling attribute", { body: { tdAttributes: tdAttributes | (1n << 5n) } }],
  ["the attribute of migration", { body: { tdAttributes: tdAttributes | (1n << 29n) } }],
])("TDX: a peer with %s is not accepted", (_what, scenario) => {
  expect(() => acceptPeer(attested(ofTdx()), attested(ofTdx(scenario)), [])).toThrow(refused);
});

test("a peer of another kind of TEE is not accepted, whatever its policy", () => {
  const hostData = Buffer.from(attested(ofTdx()).policyHash, "hex");
  expect(() => acceptPeer(attested(ofTdx()), attested(ofSnp({ report: { hostData } })), [])).toThrow(
    expect.objectContaining({ code: "peer_not_accepted", got: "snp" }),
  );
});

test("no secrets are given to a VM that its host may look into, and those of hardware not to a software TEE", () => {
  const given = expect.objectContaining({ code: "not_coordinator" }) as unknown;
  const debug = ofSnp({ report: { policy: POLICY | (1n << 19n) } });
  const software = verifySnp(snp.makeEvidence(amd), { trustAnchors: simulatedRoots([amd.rootDigest]), at: snp.NOW });
  for (const insecure of [true, false]) {
    expect(() => requireUnexposed(debug, insecure)).toThrow(given);
    expect(() => requireUnexposed(ofTdx({ body: { tdAttributes: 1n } }), insecure)).toThrow(given);
    requireUnexposed(ofSnp(), insecure);
    requireUnexposed(ofTdx(), insecure);
  }
  expect(() => requireUnexposed(software, false)).toThrow(given);
  requireUnexposed(software, true);
});

const VECTORS = join(import.meta.dirname, "../../../shared/vectors");
const available = existsSync(join(VECTORS, "index.json"));

if (!available) test.skip("recorded evidence of peers: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded evidence of peers", () => {
  interface Vector {
    readonly id: string;
    readonly files: Readonly<Record<string, { readonly file: string }>>;
    readonly chain: string;
    readonly time: string;
  }
  const read = (file: string): Buffer => readFileSync(join(VECTORS, file));

  function recorded(id: string): Attested {
    const { vectors } = JSON.parse(read("index.json").toString()) as { vectors: readonly Vector[] };
    const vector = vectors.find((candidate) => candidate.id === id);
    if (vector === undefined) throw new Error(`no vector ${id}`);
    const pems =
      read(vector.chain)
        .toString()
        .match(/-----BEGIN[^-]*-----[^-]*-----END CERTIFICATE-----/g) ?? [];
    const certificates = [read(vector.files["vcek"]?.file ?? ""), ...pems.map((pem) => new X509Certificate(pem).raw)];
    const report = read(vector.files["report"]?.file ?? "");
    const options = { trustAnchors: AMD_ROOTS, at: new Date(vector.time) };
    return attested(verifySnp({ kind: "snp", report, certificates }, options));
  }

  test("a VM of a cloud that its host may debug is not accepted, even by one like it", () => {
    const google = recorded("snp-milan-v2-google");
    expect(google.exposed).toBe(true);
    expect(() => acceptPeer(google, google, [])).toThrow(refused);
  });

  test("of a cloud, one container group on a Milan and on a Genoa is one launch, and another one is another", () => {
    const [milan, genoa] = [recorded("snp-milan-v3-aci"), recorded("snp-genoa-v3-aci")];
    acceptPeer(milan, genoa, []);
    const google = { ...recorded("snp-milan-v2-google"), exposed: false };
    expect(() => acceptPeer(milan, google, [])).toThrow(refused);
    acceptPeer(milan, google, [{ policy: google.policyHash, measurement: google.measurement }]);
  });
});
