import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Attester } from "../attestation/evidence.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { RemoteError } from "../channel/error.ts";
import { startTls } from "../channel/tls.ts";
import { enroll } from "../initializer/enroll.ts";
import { persist } from "../initializer/persist.ts";
import { generateEcKey } from "../pki/keys.ts";
import { type Program, startProgram } from "./programs.ts";
import { setManifest, webManifest } from "./web-deployment.ts";

/** A Coordinator as a program, and a crowd of Initializers that come at once: their own code, in this one process. */

const ADDRESS = "127.88.0.1";
const CROWD = 500;

/**
 * What came out is 280 MB for 700 connections at once, and 320 MB for 1200, so that a connection costs less than 100 kB.
 * The bound leaves room, for allocators and collectors differ.
 */
const MEMORY_KB = 450 * 1024;

const now = (): Date => new Date();
const policies = ["the Coordinator's policy", "web's policy"].map((text) => Buffer.from(text));
let directory: string;
let manifest: Buffer;
let web: Attester;
let coordinator: Program;
const cleanUps: (() => unknown)[] = [];

/** Plays the collateral proxy: takes requests and answers none before it is told to. */
const asked: ServerResponse[] = [];
const vendors = createHttpServer((_request, response) => asked.push(response));

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "enrolment-test-"));
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now());
  const hashes = policies.map((policy) => createHash("sha256").update(policy).digest()) as [Buffer, Buffer];
  for (const [index, hostData] of hashes.entries()) await vendor.launch(join(directory, `vm${index}`), { hostData });
  web = await openSimulatedAttester(join(directory, "vm1"));
  vendors.listen(0, ADDRESS);
  await once(vendors, "listening");
  coordinator = startProgram(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm0"),
    CONTRAST_STATE_DIR: join(directory, "state"),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
    CONTRAST_COLLATERAL_PROXY: `http://${ADDRESS}:${(vendors.address() as AddressInfo).port}`,
  });
  await coordinator.line("ready");
  manifest = webManifest(vendor, hashes);
});

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

afterAll(async () => {
  coordinator.child.kill("SIGKILL");
  await coordinator.exited;
  vendors.closeAllConnections();
  vendors.close();
  rmSync(directory, { recursive: true });
});

/** The way to the mesh API from addresses of our choice: grpc-js has no option for where it connects from. */
async function route(from: (index: number) => string): Promise<string> {
  let index = 0;
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    const onward = connect({ host: ADDRESS, port: 7777, localAddress: from(index++), allowHalfOpen: true });
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      one.on("error", () => other.destroy());
      one.pipe(other);
    }
  });
  server.listen({ port: 0, host: ADDRESS, backlog: CROWD });
  await once(server, "listening");
  cleanUps.push(() => server.close());
  return `${ADDRESS}:${(server.address() as AddressInfo).port}`;
}

/** What each of a crowd got that came at once, and what the Coordinator refused in between. */
interface Crowd {
  readonly chains: Promise<readonly string[]>;
  readonly refusals: RemoteError[];
}

function enrolCrowd(target: string): Crowd {
  const refusals: RemoteError[] = [];
  const one = async (): Promise<string> => {
    const keys = await generateEcKey("P-256");
    const attempt = () =>
      enroll(target, web, keys, now).catch((error: unknown) => {
        if (error instanceof RemoteError) refusals.push(error);
        throw error;
      });
    const response = await persist(attempt, {
      log: pino({ level: "silent" }),
      stop: AbortSignal.timeout(20_000),
      random: Math.random,
      sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
    });
    return response.certChain;
  };
  return { chains: Promise.all(Array.from({ length: CROWD }, one)), refusals };
}

/** Everybody got a certificate of his own; who was refused was told when to come back. */
async function expectServed({ chains, refusals }: Crowd): Promise<void> {
  expect(new Set(await chains).size).toBe(CROWD);
  for (const { retryAfterMs, transient } of refusals) expect([transient, retryAfterMs > 0]).toEqual([true, true]);
}

/** The most memory that the Coordinator ever had. */
function peakMemory(): number {
  const status = readFileSync(`/proc/${coordinator.child.pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
}

async function open(localAddress: string): Promise<Socket> {
  const socket = connect({ host: ADDRESS, port: 7777, localAddress });
  socket.on("error", () => undefined);
  cleanUps.push(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

async function openTls(localAddress: string): Promise<Socket> {
  const tls = await startTls(await open(localAddress), AbortSignal.timeout(10_000));
  return tls.on("error", () => undefined);
}

test(`${CROWD} Initializers of as many addresses at once wait for a manifest, and all get their certificates`, async () => {
  const crowd = enrolCrowd(await route((index) => `127.88.${1 + ((index >> 8) & 0x7f)}.${index & 0xff}`));
  await expect.poll(() => crowd.refusals.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(CROWD);
  for (const { code } of crowd.refusals) expect(code).toBe("no_manifest");
  await setManifest(ADDRESS, manifest, policies);
  await expectServed(crowd);
  expect(peakMemory()).toBeLessThan(MEMORY_KB);
});

test(`${CROWD} of one address do, too, among 100 of it that are silent and 100 that send a byte now and then`, async () => {
  const [crowd, half] = ["127.88.9.1", 50];
  const each = async (make: (address: string) => Promise<Socket>) =>
    Promise.all(Array.from({ length: half }, () => make(crowd)));
  await each(open);
  await each(openTls);
  const [inHandshake, inMessage] = [await each(open), await each(openTls)];
  // The beginnings of a ClientHello (RFC 8446 §5.1), and of a message, that announce more than ever comes.
  for (const socket of inHandshake) socket.write(Buffer.of(22, 3, 1, 2, 0, 1, 0, 1, 252));
  for (const socket of inMessage) socket.write(Buffer.of(0, 0, 1, 0));
  const drip = setInterval(() => {
    for (const socket of [...inHandshake, ...inMessage]) if (socket.writable) socket.write(Buffer.of(3));
  }, 100);
  cleanUps.push(() => clearInterval(drip));

  await expectServed(enrolCrowd(await route(() => crowd)));
  expect(peakMemory()).toBeLessThan(MEMORY_KB);
});

test("told to stop, the Coordinator answers who waits for a vendor, lets nobody else in, and ends well", async () => {
  // Evidence without its root could be of a real chip, so AMD is asked for what it lacks.
  const rootless: Attester = {
    insecure: web.insecure,
    async collect(reportData) {
      const evidence = await web.collect(reportData);
      return evidence.kind === "snp" ? { ...evidence, certificates: evidence.certificates.slice(0, 1) } : evidence;
    },
  };
  const keys = await generateEcKey("P-256");
  const answer = enroll(`${ADDRESS}:7777`, rootless, keys, now).catch((error: unknown) => error);
  await expect.poll(() => asked.length, { timeout: 5000 }).toBeGreaterThan(0);
  coordinator.child.kill("SIGTERM");
  await coordinator.line("stopping");
  await expect
    .poll(() =>
      open("127.88.9.2")
        .then(() => "open")
        .catch(() => "refused"),
    )
    .toBe("refused");
  for (const response of asked) response.writeHead(404).end();
  vendors.on("request", (_request, response) => response.writeHead(404).end());
  expect(await answer).toMatchObject({ code: "vendor_refused" });
  expect(await coordinator.exited).toBe(0);
});
