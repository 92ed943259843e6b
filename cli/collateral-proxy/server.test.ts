import { mkdtemp, readdir, rm } from "node:fs/promises";
import { request as httpRequest, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { vcekUrl } from "../../attestation/endorsements/amd.ts";
import { EndorsementCache } from "../../attestation/endorsements/cache.ts";
import {
  answerWith,
  PREFIX,
  startService,
  type TestNetwork,
  testNetwork,
  type TestService,
} from "../../attestation/endorsements/test-service.ts";
import { vendorsThrough } from "../../attestation/endorsements/vendors.ts";
import { amdSigner, encodeName, encodeSigned } from "../../attestation/simulated/certificates.ts";
import { MACHINE_TCB } from "../../attestation/simulated/machine.ts";
import { CHIP_ID, createTestVendor, makeEvidence, NOW, type TestVendor } from "../../attestation/snp/test-vendor.ts";
import { encodeInteger, encodeSequence, encodeTime } from "../../pki/der-writer.ts";
import { collateralProxy } from "./server.ts";
import { VENDOR_HOSTS } from "./upstreams.ts";

/** The server on real sockets, between the client that the programs have and a service that stands in for the vendors. */

const HOST = "127.84.3.1";
const CRL = "kdsintf.amd.com/vcek/v1/Milan/crl";
const CHAIN = "kdsintf.amd.com/vcek/v1/Milan/cert_chain";
const HOUR = 60 * 60 * 1000;
const vcekPath = (chipId = CHIP_ID): string => {
  const { host, pathname, search } = vcekUrl({ product: "Milan", chipId, tcb: MACHINE_TCB });
  return `${host}${pathname}${search}`;
};

let vendor: TestVendor;
beforeAll(async () => {
  vendor = await createTestVendor();
});

function crl(serial: number, until = "2026-07-01T00:00:00Z"): Uint8Array {
  const signer = amdSigner(vendor.ark.privateKey);
  return encodeSigned(signer, [
    encodeInteger(1),
    signer.algorithm,
    encodeName("ARK-Milan"),
    encodeTime(new Date("2026-05-01T00:00:00Z")),
    encodeTime(new Date(until)),
    encodeSequence(encodeSequence(encodeInteger(serial), encodeTime(NOW))),
  ]);
}

interface Setting {
  readonly url: URL;
  readonly service: TestService;
  readonly network: TestNetwork;
  readonly warnings: string[];
}

async function start({ perMinute = 60, directory }: { perMinute?: number; directory?: string } = {}): Promise<Setting> {
  const service = await startService();
  const network = testNetwork(NOW);
  const warnings: string[] = [];
  const server = collateralProxy({
    network,
    directory,
    perMinute,
    // As `throughProxy` has it: the service is asked by the vendor's name.
    upstreams: new Map(VENDOR_HOSTS.map((host) => [host, new URL(`${service.url.href}${host}`)])),
    warn: (line) => void warnings.push(line),
  });
  return { url: await listen(server), service, network, warnings };
}

async function listen(server: Server): Promise<URL> {
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return new URL(`http://${HOST}:${(server.address() as AddressInfo).port}`);
}

const get = async (url: URL, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${url.origin}/${path}`, init);
const outcome = async (url: URL, path: string): Promise<string> => {
  const response = await get(url, path);
  return `${response.status} ${(await response.text()).trim()}`;
};

test("the programs get by it what they get from the vendors", async () => {
  const { url, service, network } = await start();
  const { certificates, ...evidence } = makeEvidence(vendor);
  const [leaf = Buffer.alloc(0)] = certificates;
  service.answers.set(vcekPath(), answerWith(leaf));
  const list = crl(1);
  service.answers.set(CRL, answerWith(list));
  const client = vendorsThrough(
    new EndorsementCache({ network, directory: undefined, proxy: url, onWarning: () => {} }),
  );
  expect((await client.withVcek({ ...evidence, certificates: [] })).certificates).toEqual([leaf]);
  expect(await client.snpCrl("vcek", "Milan")).toEqual(list);
  expect(service.requests).toEqual([vcekPath(), CRL]);
});

test("it asks once, and says how old its answer is", async () => {
  const { url, service, network } = await start();
  service.answers.set(CRL, answerWith(crl(1), { "cache-control": "max-age=7200" }));
  await get(url, CRL);
  network.time = new Date(NOW.getTime() + HOUR);
  const { headers } = await get(url, CRL);
  expect([headers.get("cache-control"), headers.get("age")]).toEqual(["max-age=7200", "3600"]);
  expect(service.requests).toHaveLength(1);
});

test("many at once are one request", async () => {
  const { url, service } = await start();
  service.answers.set(CRL, answerWith(crl(1)));
  const answers = await Promise.all(Array.from({ length: 20 }, async () => get(url, CRL)));
  expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
  expect(service.requests).toHaveLength(1);
});

test("while the vendor is down it answers what is valid, and nothing that is not any more", async () => {
  const { url, service, network, warnings } = await start();
  service.answers.set(CRL, answerWith(crl(1)));
  await get(url, CRL);
  await service.close();
  network.time = new Date(NOW.getTime() + 48 * HOUR);
  expect((await get(url, CRL)).status).toBe(200);
  expect(warnings[0]).toContain("the vendor can't be asked");
  network.time = new Date("2026-08-01T00:00:00Z");
  expect(await outcome(url, CRL)).toBe("503 vendor_unreachable");
});

test("what was superseded is asked for anew", async () => {
  const { url, service, network } = await start();
  service.answers.set(CRL, answerWith(crl(1)));
  await get(url, CRL);
  const newer = crl(2);
  service.answers.set(CRL, answerWith(newer));
  network.time = new Date(NOW.getTime() + HOUR / 2);
  const renewed = await get(url, CRL, { headers: { "cache-control": "no-cache" } });
  expect(Buffer.from(await renewed.arrayBuffer())).toEqual(newer);
  // Not again a moment later, whoever says so.
  await get(url, CRL, { headers: { "cache-control": "no-cache" } });
  expect(service.requests).toHaveLength(2);
});

test("answers are kept over a restart", async () => {
  const directory = await mkdtemp(join(tmpdir(), "collateral-proxy-"));
  onTestFinished(async () => rm(directory, { recursive: true }));
  const first = await start({ directory });
  first.service.answers.set(CRL, answerWith(crl(1)));
  await get(first.url, CRL);
  expect(await readdir(directory)).toHaveLength(1);
  const second = await start({ directory });
  expect((await get(second.url, CRL)).status).toBe(200);
  expect(second.service.requests).toEqual([]);
});

test("what the vendor does not have, and what is something else, is not passed on", async () => {
  const { url, service } = await start();
  expect(await outcome(url, CRL)).toBe("404 vendor_refused");
  service.answers.set(CHAIN, answerWith("<html>log in</html>"));
  expect(await outcome(url, CHAIN)).toBe("502 malformed_endorsement");
  service.answers.set(vcekPath(), answerWith(crl(1)));
  expect(await outcome(url, vcekPath())).toBe("502 malformed_endorsement");
  service.answers.set("kdsintf.amd.com/vcek/v1/Genoa/crl", answerWith(crl(1, "2026-05-02T00:00:00Z")));
  expect(await outcome(url, "kdsintf.amd.com/vcek/v1/Genoa/crl")).toBe("502 endorsement_expired");
});

test("a redirect is not followed", async () => {
  const { url, service } = await start();
  service.answers.set(CRL, (response) => response.writeHead(302, { location: `${PREFIX}/elsewhere` }).end());
  expect(await outcome(url, CRL)).toBe("404 vendor_refused");
  expect(service.requests).toEqual([CRL]);
});

test("nobody else is asked, whatever is written", async () => {
  const { url, service } = await start();
  for (const path of ["example.com/", "kdsintf.amd.com/", "169.254.169.254/metadata/THIM/amd/certification"]) {
    expect(await outcome(url, path)).toBe("404 unknown_request");
  }
  const raw = (options: object): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = url;
      const sent = httpRequest({ hostname, port, ...options }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      sent.on("error", reject);
      sent.end();
    });
  // A client that takes it for a proxy of HTTP.
  expect(await raw({ path: "http://example.com/" })).toBe(404);
  expect(await raw({ path: `/${CRL}`, method: "POST" })).toBe(405);
  expect(service.requests).toEqual([]);
});

test("it is no tunnel", async () => {
  const { url } = await start();
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(Number(url.port), HOST);
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
    socket.write("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n");
  });
  expect(answer).not.toContain("200");
});

test("one source can't use up what the vendor grants to all", async () => {
  const { url, service, network } = await start({ perMinute: 3 });
  service.answers.set(CRL, answerWith(crl(1)));
  const chips = [1, 2, 3, 4].map((byte) => vcekPath(Buffer.alloc(64, byte)));
  const statuses: number[] = [];
  for (const chip of chips) statuses.push((await get(url, chip)).status);
  expect(statuses).toEqual([404, 404, 404, 429]);
  expect(service.requests).toHaveLength(3);
  // What all share is not about a chip.
  expect((await get(url, CRL)).status).toBe(200);
  network.time = new Date(NOW.getTime() + 20_000);
  expect((await get(url, chips[3] ?? "")).status).toBe(404);
});

test("a head that is too long is refused", async () => {
  const { url } = await start();
  expect((await get(url, CRL, { headers: { "x-long": "x".repeat(10_000) } })).status).toBe(431);
});

test("it says that it lives, and what it did", async () => {
  const { url, service } = await start();
  service.answers.set(CRL, answerWith(crl(1)));
  await get(url, CRL);
  await get(url, CRL);
  await get(url, "example.com/");
  expect(await outcome(url, "healthz")).toBe("200 ok");
  const metrics = await (await get(url, "metrics")).text();
  expect(metrics.split("\n").filter((line) => !line.startsWith("#"))).toEqual([
    'contrast_collateral_proxy_requests_total{outcome="answered"} 2',
    'contrast_collateral_proxy_requests_total{outcome="unknown_request"} 1',
    'contrast_collateral_proxy_upstream_requests_total{host="kdsintf.amd.com",status="200"} 1',
    "",
  ]);
});
