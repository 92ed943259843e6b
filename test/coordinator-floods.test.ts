import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import type { Attester } from "../attestation/evidence.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { startExchange } from "../channel/exchange.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { ATTACKS } from "./floods/attacks.ts";
import { call, keys, message, openTls, PORTS } from "./floods/target.ts";
import { makeMemoryGroup } from "./memory-group.ts";
import { type Program, startProgram } from "./programs.ts";

/**
 * A Coordinator as the program it is, in a control group with the memory that deploy/coordinator.yml gives it, and
 * strangers who attack it from a process of their own. While each attack goes on, probes are answered, and an owner who
 * shares the address of the attackers, a stranger and a workload are served. One process survives them all.
 */

const ADDRESS = "127.96.0.1";
const LIMIT = memoryOf("coordinator.yml");
const ATTACK_MS = 3000;

/**
 * Kubernetes' default for a probe, and what a client may wait, in milliseconds. One that is refused tries again within
 * that time. What this machine, busy with others and with the attackers, lets the Coordinator and its clients wait for a
 * processor does not count.
 */
const PROBE_MS = 1000;
const CLIENT_MS = 2000;

/** All attacks together use about half, and a quarter more on a busy machine. What they left in memory would add up. */
const NEVER_NEEDED = 0.9;

/** The last one makes the history as long as one of some years. */
const policies = ["the Coordinator's policy", "web's policy", "x".repeat(2 ** 21)].map((text) => Buffer.from(text));
let directory: string;
// Where this process may not make a group there is nothing to survive in.
const group = makeMemoryGroup(LIMIT);
let coordinator: Program;
let owner: KeyPair;
let web: Attester;

/** The limit of the container in a file of deploy/, in bytes. */
function memoryOf(file: string): number {
  const text = readFileSync(join(import.meta.dirname, "..", "deploy", file), "utf8");
  const [, container = ""] = text.split("      containers:\n");
  return Number(/limits:\s+memory: (\d+)Mi/.exec(container)?.[1]) * 2 ** 20;
}

/** Who is served, from where. The owner's address is that of the attackers. */
interface Client {
  readonly from: string;
  readonly port: number;
  readonly method: string;
  readonly keys: () => KeyPair;
  readonly attester?: () => Attester;
}

const CLIENTS: Readonly<Record<string, Client>> = {
  owner: { from: "127.96.1.1", port: PORTS.user, method: "/userapi.UserAPI/GetManifests", keys: () => owner },
  stranger: { from: "127.96.3.1", port: PORTS.user, method: "/userapi.UserAPI/GetManifests", keys: () => keys },
  workload: {
    from: "127.96.3.2",
    port: PORTS.mesh,
    method: "/meshapi.MeshAPI/NewMeshCert",
    keys: () => keys,
    attester: () => web,
  },
};

beforeAll(async () => {
  if (group === undefined) return;
  directory = mkdtempSync(join(tmpdir(), "floods-test-"));
  const vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  const hashes = policies.map((policy) => createHash("sha256").update(policy).digest());
  for (const [index, hostData] of hashes.entries()) await vendor.launch(join(directory, `vm${index}`), { hostData });
  web = await openSimulatedAttester(join(directory, "vm1"));
  owner = await generateEcKey("P-384");
  coordinator = startProgram(["coordinator/main.ts"], environmentOf(join(directory, "state")), group.within);
  expect(await coordinator.line("ready")).toMatchObject({ memory: LIMIT });
  const [own = "", theirs = "", long = ""] = hashes.map((hash) => hash.toString("hex"));
  const manifest = Buffer.from(
    JSON.stringify({
      Policies: { [own]: { SANs: [], Role: "coordinator" }, [theirs]: { SANs: ["web"] }, [long]: { SANs: [] } },
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
      SeedshareOwnerPubKeys: [],
    }),
  );
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys: owner, handshakeMs: 10_000 });
  await client.call(UserAPI.method.setManifest, { manifest, policies }, new Date(Date.now() + 10_000));
  client.close();
});

function environmentOf(state: string): Record<string, string> {
  return {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm0"),
    CONTRAST_STATE_DIR: state,
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  };
}

afterAll(async () => {
  if (group === undefined) return;
  coordinator.child.kill("SIGKILL");
  await coordinator.exited;
  group.remove();
  rmSync(directory, { recursive: true });
});

/** @returns how long the probe took, in milliseconds */
async function probe(): Promise<number> {
  const begin = performance.now();
  const waited = processorWait();
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const options = {
      host: ADDRESS,
      port: PORTS.probes,
      path: "/probe/liveness",
      localAddress: "127.96.3.3",
      agent: false,
    };
    get(options, (response) => resolve(response.resume().statusCode)).on("error", reject);
  });
  expect(status).toBe(200);
  return performance.now() - begin - (processorWait() - waited);
}

/** One call on a connection of its own. @returns the status of gRPC; undefined where there was none */
async function attempt({ from, port, method, keys: own, attester }: Client): Promise<string | undefined> {
  const tls = await openTls(ADDRESS, port, from);
  if (tls === undefined) return undefined;
  try {
    await startExchange(tls, own(), attester === undefined ? {} : { attester: attester() });
    const session = connectHttp2("http://coordinator", { createConnection: () => tls });
    session.on("error", () => undefined);
    const stream = call(session, method);
    stream.end(message(Buffer.alloc(0)));
    const status = new Promise<string | undefined>((resolve) => {
      stream.on("trailers", (headers) => resolve(String(headers["grpc-status"])));
      stream.on("close", () => resolve(undefined));
    });
    stream.resume();
    return await status;
  } catch {
    return undefined;
  } finally {
    tls.destroy();
  }
}

/** Asks for evidence over HTTP, on a connection of its own. @returns as `attempt` */
async function attest(): Promise<string | undefined> {
  const body = JSON.stringify({ nonce: "ab".repeat(32) });
  const headers = { "content-type": "application/json", "content-length": body.length };
  const options = { host: ADDRESS, port: PORTS.attest, path: "/v1/attest", localAddress: "127.96.3.4", agent: false };
  return new Promise((resolve) => {
    const sent = request({ ...options, method: "POST", headers }, (response) => {
      response.resume().on("close", () => resolve(response.complete && response.statusCode === 200 ? "0" : undefined));
    });
    sent.on("error", () => resolve(undefined)).end(body);
  });
}

/** @returns how long it took until the client was served, in milliseconds */
async function serve(tryOnce: () => Promise<string | undefined>): Promise<number> {
  const begin = performance.now();
  const waited = processorWait();
  while ((await tryOnce()) !== "0") {
    if (performance.now() - begin > 20_000) return Infinity;
    await delay(50);
  }
  return performance.now() - begin - (processorWait() - waited);
}

/** How long the Coordinator and this process were ready and had no processor, in milliseconds (Linux, schedstat). */
function processorWait(program = coordinator): number {
  const waits = [program.child.pid, process.pid].map((pid) => {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ")[1]) / 1e6;
  });
  return waits.reduce((sum, wait) => sum + wait, 0);
}

const NO_GROUP = group === undefined ? ": this process may not make a control group" : "";

test.skipIf(group === undefined).each(Object.keys(ATTACKS))(
  `%s: probes and clients are served, and the memory suffices${NO_GROUP}`,
  async (name) => {
    if (group === undefined) return;
    const attacker = startProgram(["test/floods/attacker.ts", name, ADDRESS, String(ATTACK_MS)]);
    onTestFinished(() => void attacker.child.kill("SIGKILL"));
    await attacker.line("attacking");
    await delay(500);
    const most: Record<string, number> = {};
    const over = new AbortController();
    const during = async (who: string, measure: () => Promise<number>): Promise<void> => {
      while (!over.signal.aborted) {
        most[who] = Math.max(most[who] ?? 0, Math.round(await measure()));
        await delay(100);
      }
    };
    const measured = [
      during("probe", probe),
      ...Object.entries(CLIENTS).map(([who, client]) => during(who, () => serve(() => attempt(client)))),
      during("verifier", () => serve(attest)),
    ];
    expect(await attacker.exited, attacker.text.join("\n")).toBe(0);
    over.abort();
    await Promise.all(measured);
    for (const [who, time] of Object.entries(most))
      expect(time, who).toBeLessThan(who === "probe" ? PROBE_MS : CLIENT_MS);
    expect(coordinator.child.exitCode).toBeNull();
    expect(group.kills()).toBe(0);
    expect(group.peak()).toBeLessThan(LIMIT * NEVER_NEEDED);
  },
  90_000,
);

/** Anybody may give it its first manifest, so that it can't ask who sends megabytes. */
test
  .skipIf(group === undefined)
  .each(["9 MiB of two-byte fields", "32 connections of eight addresses with two unfinished calls of 9 MiB"])(
  `a Coordinator without a manifest, %s: probes are answered, and the memory suffices${NO_GROUP}`,
  async (name) => {
    const own = makeMemoryGroup(LIMIT);
    if (own === undefined) throw new Error("one could be made before");
    const state = mkdtempSync(join(directory, "empty-"));
    const address = "127.96.0.2";
    const empty = startProgram(
      ["coordinator/main.ts"],
      { ...environmentOf(state), CONTRAST_LISTEN_ADDRESS: address },
      own.within,
    );
    onTestFinished(async () => {
      empty.child.kill("SIGKILL");
      await empty.exited;
      own.remove();
    });
    await empty.line("ready");
    const attacker = startProgram(["test/floods/attacker.ts", name, address, String(ATTACK_MS)]);
    onTestFinished(() => void attacker.child.kill("SIGKILL"));
    await attacker.line("attacking");
    let most = 0;
    while (attacker.child.exitCode === null) {
      const begin = performance.now();
      const waited = processorWait(empty);
      expect((await fetch(`http://${address}:${PORTS.probes}/probe/liveness`)).status).toBe(200);
      most = Math.max(most, performance.now() - begin - (processorWait(empty) - waited));
      await delay(100);
    }
    expect(await attacker.exited, attacker.text.join("\n")).toBe(0);
    expect(most).toBeLessThan(PROBE_MS);
    expect(empty.child.exitCode).toBeNull();
    expect(own.kills()).toBe(0);
    expect(own.peak()).toBeLessThan(LIMIT);
  },
  60_000,
);
