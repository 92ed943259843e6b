import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import type { Attester, Evidence } from "../attestation/evidence.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { SNP_PRODUCTS, type SnpProduct } from "../attestation/snp/product.ts";
import { signReport } from "../attestation/simulated/firmware.ts";
import * as amd from "../attestation/snp/test-vendor.ts";
import * as intel from "../attestation/tdx/test-vendor.ts";
import { ChannelClient } from "../channel/client.ts";
import { enroll } from "../initializer/enroll.ts";
import { generateEcKey } from "../pki/keys.ts";
import { type Program, startProgram } from "./programs.ts";

/**
 * What strangers can make a Coordinator ask the vendors for: a program with a fake vendor that counts, and the exchange
 * of evidence over real sockets.
 */

const ADDRESS = "127.88.13.1";
const HELLOS = 120;

const now = (): Date => new Date();
const policies = ["the Coordinator's policy", "web's policy"].map((text) => Buffer.from(text));
let directory: string;
let coordinator: Program;
let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

/** Plays the collateral proxy: has nothing, and counts what it is asked for. */
const requests: string[] = [];
const service = createServer((request, response) => {
  requests.push((request.url ?? "").slice(1));
  response.writeHead(404).end();
});

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vendor-requests-"));
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now());
  const [own = Buffer.alloc(0), theirs = Buffer.alloc(0)] = policies.map((policy) =>
    createHash("sha256").update(policy).digest(),
  );
  await vendor.launch(join(directory, "vm"), { hostData: own });
  service.listen(0, ADDRESS);
  await once(service, "listening");
  coordinator = startProgram(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm"),
    CONTRAST_STATE_DIR: join(directory, "state"),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
    CONTRAST_COLLATERAL_PROXY: `http://${ADDRESS}:${(service.address() as AddressInfo).port}`,
  });
  await coordinator.line("ready");
  const manifest = {
    Policies: { [own.toString("hex")]: { SANs: [], Role: "coordinator" }, [theirs.toString("hex")]: { SANs: ["web"] } },
    ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 5000 });
  const request = { manifest: Buffer.from(JSON.stringify(manifest)), policies };
  await client.call(UserAPI.method.setManifest, request, new Date(Date.now() + 10_000));
  client.close();
});

afterAll(async () => {
  coordinator.child.kill("SIGKILL");
  await coordinator.exited;
  service.close();
  await rm(directory, { recursive: true });
});

/** Shows evidence that it makes for this connection, `count` times, and gives the codes of the refusals. */
async function hello(count: number, make: (reportData: Uint8Array, index: number) => Evidence): Promise<string[]> {
  const keys = await generateEcKey("P-256");
  const codes: string[] = [];
  for (let index = 0; index < count; index++) {
    const attester: Attester = { insecure: undefined, collect: async (reportData) => make(reportData, index) };
    const error: unknown = await enroll(`${ADDRESS}:7777`, attester, keys, now).catch((caught: unknown) => caught);
    codes.push((error as { code?: string }).code ?? String(error));
  }
  return codes;
}

const productOf = (index: number): SnpProduct => SNP_PRODUCTS[index % SNP_PRODUCTS.length] ?? "Milan";

/** A report of another chip each time, as a stranger makes one up, signed by a key of his own. */
function madeUp(reportData: Uint8Array, index: number, kind: "vcek" | "vlek" = "vcek"): Uint8Array {
  const product = productOf(index);
  const chipId = product === "Turin" ? Buffer.concat([randomBytes(8)], 64) : randomBytes(64);
  const fields = { ...amd.reportOf(product, kind), reportData, ...(kind === "vcek" ? { chipId } : {}) };
  return signReport(fields, amdVendor.endorsement.privateKey);
}

/** The chains of that key for each product. */
function chainsOf(kind: "vcek" | "vlek"): readonly (readonly Uint8Array[])[] {
  return SNP_PRODUCTS.map((product) => amd.makeEvidence(amdVendor, { product, kind }).certificates);
}

function spoilt(bytes: Uint8Array, offset: number): Uint8Array {
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(offset) ^ 1, offset);
  return changed;
}

const SIGNATURE = 0x2a0;

test(`${HELLOS} reports that nobody signed make the Coordinator ask for nothing`, { timeout: 90_000 }, async () => {
  const codes = await hello(HELLOS, (reportData, index) => {
    return { kind: "snp", report: spoilt(madeUp(reportData, index), SIGNATURE), certificates: [] };
  });
  expect(new Set(codes)).toEqual(new Set(["certificate_missing"]));
  expect(requests).toEqual([]);
});

test("nor do reports beside the certificate of another key, be its chain a good one", async () => {
  for (const kind of ["vcek", "vlek"] as const) {
    const chains = chainsOf(kind);
    const codes = await hello(12, (reportData, index) => {
      const certificates = chains[index % chains.length]?.slice(0, 1 + (Math.floor(index / 3) % 3)) ?? [];
      return { kind: "snp", report: spoilt(madeUp(reportData, index, kind), SIGNATURE), certificates };
    });
    expect(new Set(codes)).toEqual(new Set(["report_signature"]));
  }
  expect(requests).toEqual([]);
});

test("nor does a report that was made for another connection", async () => {
  const { certificates, report } = amd.makeEvidence(amdVendor);
  const codes = await hello(3, () => ({ kind: "snp", report, certificates: certificates.slice(0, 1) }));
  expect(new Set(codes)).toEqual(new Set(["report_data_mismatch"]));
  expect(requests).toEqual([]);
});

test("nor do quotes whose chain ends in a root of the sender's own", async () => {
  const codes = await hello(12, (reportData) => {
    const { collateral: _, ...evidence } = intel.makeEvidence(intelVendor, { body: { reportData } });
    return evidence;
  });
  expect(new Set(codes)).toEqual(new Set(["untrusted_root"]));
  expect(requests).toEqual([]);
});

test(
  "whoever makes the signing key himself has its issuers fetched, once for a product and kind, and no more",
  { timeout: 90_000 },
  async () => {
    for (const kind of ["vcek", "vlek"] as const) {
      const chains = chainsOf(kind);
      await hello(HELLOS / 2, (reportData, index) => {
        const certificates = chains[index % chains.length]?.slice(0, 1) ?? [];
        return { kind: "snp", report: madeUp(reportData, index, kind), certificates };
      });
    }
    // The service has none of them: that it had none is remembered, too.
    const chains = SNP_PRODUCTS.flatMap((product) =>
      ["vcek", "vlek"].map((kind) => `kdsintf.amd.com/${kind}/v1/${product}/cert_chain`),
    );
    expect(requests.toSorted()).toEqual(chains.toSorted());
  },
);
