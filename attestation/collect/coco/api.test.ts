import { mkdtemp, readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { EndorsementError } from "../../endorsements/error.ts";
import type { Network } from "../../endorsements/fetch.ts";
import type { Attester } from "../../evidence.ts";
import { checkReportData as requireReportData } from "../../report-data.ts";
import { openSimulatedAttester } from "../../simulated/attester.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../../simulated/vendor.ts";
import { simulatedRoots } from "../../snp/roots.ts";
import { verifySnp } from "../../snp/verify.ts";
import { openHardwareAttester } from "../detect.ts";
import { mayServeEvidence } from "./api.ts";
import { type CocoRoute, cocoSnpJson, startCocoApi } from "./test-coco-api.ts";

/** Over real sockets, against servers that behave like the attestation API, well or badly. */

const HOST = "127.84.9.1";
const NOW = new Date();
const VECTOR = join(import.meta.dirname, "../../../../shared/vectors/coco-aa/tdx-v4-google-spr.json");
const reportData = Buffer.from(Array.from({ length: 64 }, (_, index) => 255 - index));
const network: Network = {
  now: () => NOW,
  random: () => 0,
  sleep: async () => {},
  fetch: async () => {
    throw new EndorsementError("vendor_unreachable", "no such service");
  },
};

let dir: string;
let vendor: SimulatedVendor;
let vm: Attester;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "coco-api-"));
  vendor = await openOrCreateVendor(join(dir, "vendor"), NOW);
  await vendor.launch(join(dir, "vm"), { hostData: Buffer.alloc(32, 0xab) });
  vm = await openSimulatedAttester(join(dir, "vm"));
});

afterAll(async () => rm(dir, { recursive: true }));

const honest: CocoRoute = async (runtimeData, response) => {
  if (runtimeData.length > 64) return refuse(response, 500, "SNP Attester: Report data must be no more than 64 bytes");
  const evidence = await vm.collect(Buffer.concat([runtimeData], 64));
  if (evidence.kind !== "snp") throw new Error(evidence.kind);
  return cocoSnpJson(evidence);
};

function refuse(response: ServerResponse, status: number, text: string): undefined {
  response.writeHead(status).end(text);
}

async function serve(route: CocoRoute): Promise<string> {
  const { port, close } = await startCocoApi(HOST, route);
  onTestFinished(close);
  return `${HOST}:${port}`;
}

/** A server below HTTP. */
async function serveBytes(onConnection: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  onTestFinished(() => void server.close());
  return `${HOST}:${(server.address() as AddressInfo).port}`;
}

const open = (address: string, wanted: "auto" | "coco" = "coco"): Promise<Attester> => {
  const nowhere = join(dir, "no-such");
  const cocoApi = { address, through: <T>(use: (port: undefined) => Promise<T>) => use(undefined) };
  return openHardwareAttester(wanted, { tsmReportDir: nowhere, sevGuestDevice: nowhere, cocoApi }, network);
};

const collect = async (address: string): Promise<unknown> => (await open(address)).collect(reportData);

test.each(["auto", "coco"] as const)("%s takes evidence that verifies up to the root", async (wanted) => {
  const evidence = await (await open(await serve(honest), wanted)).collect(reportData);
  if (evidence.kind !== "snp") throw new Error(evidence.kind);
  const verified = verifySnp(evidence, { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW });
  requireReportData(verified, reportData);
});

test("one request after the other is made", async () => {
  let running = 0;
  const address = await serve(async (...request) => {
    expect(++running).toBe(1);
    const body = await honest(...request);
    running--;
    return body;
  });
  const attester = await open(address);
  await Promise.all([1, 2, 3].map(async () => attester.collect(reportData)));
});

if (!existsSync(VECTOR)) test.skip("recorded TDX quote: there is no ../shared/vectors/coco-aa");

describe.runIf(existsSync(VECTOR))("recorded TDX quote", () => {
  test("it was made for something else, and is refused", async () => {
    const recorded = await readFile(VECTOR);
    const address = await serve(() => recorded);
    await expect(collect(address)).rejects.toMatchObject({ code: "report_data_mismatch", where: address });
  });
});

describe("what is not the evidence that was asked for is refused", () => {
  const of = async (data: Buffer): Promise<string> => {
    const evidence = await vm.collect(data);
    if (evidence.kind !== "snp") throw new Error(evidence.kind);
    return cocoSnpJson(evidence);
  };

  test("evidence over other report data: somebody else's", async () => {
    const address = await serve(() => of(Buffer.alloc(64, 1)));
    await expect(collect(address)).rejects.toMatchObject({ code: "report_data_mismatch", where: address });
  });

  test("the sample of an agent that found no TEE", async () => {
    await expect(collect(await serve(() => '{"svn":"1","report_data":""}'))).rejects.toMatchObject({
      code: "malformed_report",
      got: expect.stringContaining("a sample") as string,
    });
  });

  test("an answer that is cut", async () => {
    const whole = await of(reportData);
    await expect(collect(await serve(() => whole.slice(0, -1)))).rejects.toMatchObject({ code: "malformed_report" });
  });

  test.each([
    [404, "Attestation Feature Not Enabled", "agent.guest_components_rest_api=attestation"],
    [400, "BAD REQUEST", "version 0.21 or later"],
    [500, "SNP Attester: Report data must be no more than 64 bytes", "version 0.21 or later"],
    [500, "ttrpc request error", "see the log of the guest's attestation-agent"],
    [403, "Forbidden", "see the log"],
    [302, "", "see the log"],
  ])("status %i: %s", async (status, text, hint) => {
    const address = await serve((_, response) => refuse(response, status, text));
    await expect(collect(address)).rejects.toMatchObject({
      code: "tee_unavailable",
      got: `status ${status}, ${JSON.stringify(text)}`,
      hint: expect.stringContaining(hint) as string,
    });
  });

  test("guest components before 0.21, which attest the text", async () => {
    const address = await serve((data, response) =>
      honest(Buffer.from(Buffer.from(data).toString("base64url")), response),
    );
    await expect(collect(address)).rejects.toMatchObject({
      code: "tee_unavailable",
      hint: expect.stringContaining("0.21") as string,
    });
  });

  test("an answer without an end in bytes", async () => {
    const address = await serve((_, response) => {
      response.on("error", () => {});
      const more = (): void => {
        while (!response.destroyed && response.write("[".repeat(65_536)));
        if (!response.destroyed) response.once("drain", more);
      };
      response.writeHead(200);
      more();
      return undefined;
    });
    await expect(collect(address)).rejects.toMatchObject({ code: "tee_unavailable", got: "more than 4194304 bytes" });
  });

  test("an error without an end", async () => {
    const address = await serve((_, response) => refuse(response, 500, "x".repeat(100_000)));
    await expect(collect(address)).rejects.toMatchObject({ code: "tee_unavailable", got: "more than 4096 bytes" });
  });

  test("a server that begins and then says nothing", { timeout: 30_000 }, async () => {
    const address = await serve((_, response) => {
      response.writeHead(200).write("{");
      return undefined;
    });
    await expect(collect(address)).rejects.toMatchObject({
      code: "tee_unavailable",
      got: "no complete answer in 15000 ms",
    });
  });

  test("a server that hangs up", async () => {
    const address = await serve((_, response) => void response.socket?.destroy());
    await expect(collect(address)).rejects.toMatchObject({ code: "tee_unavailable", got: "ECONNRESET" });
  });
});

describe("where there is no such API", () => {
  test("nobody listens", async () => {
    await expect(open(`${HOST}:1`)).rejects.toMatchObject({
      code: "tee_unavailable",
      where: "CONTRAST_TEE=coco",
      got: expect.stringContaining("ECONNREFUSED") as string,
    });
  });

  test("another program listens, which speaks HTTP", async () => {
    const address = await serveBytes((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    await expect(open(address)).rejects.toMatchObject({ got: expect.stringContaining("status 200") as string });
  });

  test("another program listens, which does not", async () => {
    const address = await serveBytes((socket) => socket.end("SSH-2.0\r\n"));
    await expect(open(address)).rejects.toMatchObject({ code: "tee_unavailable" });
  });

  test("auto says all that it tried", async () => {
    await expect(open(`${HOST}:1`, "auto")).rejects.toMatchObject({
      got: expect.stringMatching(/^\(1\).*ENOENT.*\(2\).*\(3\) http:\/\/127\.84\.9\.1:1\/aa\/evidence: ECONNREFUSED/s),
    });
  });
});

describe("whether evidence may be had is decided on the safe side", () => {
  test.each<[string, boolean, () => Promise<string>]>([
    ["nobody listens", false, async () => `${HOST}:1`],
    ["the route is off", false, async () => serveBytes((socket) => socket.end("HTTP/1.1 404 Not Found\r\n\r\n"))],
    ["it is on", true, async () => serve(honest)],
    ["somebody says nothing", true, async () => serveBytes(() => {})],
    ["somebody hangs up", true, async () => serveBytes((socket) => socket.destroy())],
    ["somebody speaks otherwise", true, async () => serveBytes((socket) => socket.end("SSH-2.0\r\n"))],
  ])("%s: %s", async (_, expected, start) => {
    expect(await mayServeEvidence({ address: await start() })).toBe(expected);
  });
});
