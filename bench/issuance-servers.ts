import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { ChannelCredentials, Client } from "@grpc/grpc-js";
import { callUnary } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { ChannelClient } from "../channel/client.ts";
import { selfSigned, type TlsIdentity } from "../channel/tls.ts";
import { enroll } from "../initializer/enroll.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";

/** The servers that are measured, as processes of their own, and their clients in this one. */
export interface MeasuredServer {
  /** @returns processor time of the server for one of so many requests, in seconds */
  measure(times: number): Promise<number>;
  stop(): Promise<void>;
}

/** How many clients are under way at once. */
const CONCURRENCY = 16;

const BARE = "127.89.0.2";

const now = (): Date => new Date();

async function startBare(kind: "tls" | "grpc"): Promise<{ child: ChildProcess; port: number; identity: TlsIdentity }> {
  const identity = await selfSigned(await generateEcKey("P-256"), now());
  const args = [join(import.meta.dirname, "bare-server.ts"), kind, JSON.stringify(identity)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { child, port: Number(line.toString()), identity };
}

/** A TLS server of Node: the handshake and nothing else. */
export async function startBareTls(): Promise<MeasuredServer> {
  const { child, port, identity } = await startBare("tls");
  return measured(child, async () => {
    const { key, cert } = identity;
    const socket = connect({ host: BARE, port, key, cert, minVersion: "TLSv1.3", rejectUnauthorized: false });
    let isSecure = false;
    socket.once("secureConnect", () => (isSecure = true)).resume();
    await once(socket, "close");
    if (!isSecure) throw new Error("the handshake failed");
  });
}

/** A server of grpc-js over TLS: one call for each connection, and nothing else. */
export async function startBareGrpc(): Promise<MeasuredServer> {
  const { child, port, identity } = await startBare("grpc");
  const [key, cert] = [Buffer.from(identity.key), Buffer.from(identity.cert)];
  return measured(child, async () => {
    const credentials = ChannelCredentials.createSsl(cert, key, cert, { rejectUnauthorized: false });
    const options = { "grpc.ssl_target_name_override": "contrast", "grpc.use_local_subchannel_pool": 1 };
    const client = new Client(`${BARE}:${port}`, credentials, options);
    await callUnary(client, MeshAPI.method.newMeshCert, {}, new Date(now().getTime() + 10_000));
    client.close();
  });
}

/** A Coordinator with a manifest, and Initializers that are real up to the files they would write. */
export async function startCoordinator(directory: string): Promise<MeasuredServer> {
  const address = "127.89.0.1";
  const { child, enrolled } = await launchCoordinator(directory, address, "");
  return measured(child, async () => void (await enrolled()));
}

interface LaunchedCoordinator {
  readonly child: ChildProcess;
  /** Enrols the workload once more. */
  readonly enrolled: () => ReturnType<typeof enroll>;
  readonly keys: KeyPair;
}

/** @param workloadSecretId of the one workload; empty: none */
export async function launchCoordinator(
  directory: string,
  address: string,
  workloadSecretId: string,
): Promise<LaunchedCoordinator> {
  const policies = ["the Coordinator's policy", "web's policy"].map((text) => Buffer.from(text));
  const hashes = policies.map((policy) => createHash("sha256").update(policy).digest());
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now());
  for (const [index, hostData] of hashes.entries()) await vendor.launch(join(directory, `vm${index}`), { hostData });
  const program = join(import.meta.dirname, "../coordinator/main.ts");
  const environment = {
    PATH: process.env["PATH"],
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm0"),
    CONTRAST_STATE_DIR: join(directory, "state"),
    CONTRAST_LISTEN_ADDRESS: address,
  };
  const child = spawn(process.execPath, [...process.execArgv, program], {
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ready = Promise.withResolvers<void>();
  createInterface({ input: child.stderr })
    .on("line", (line) => line.includes('"ready"') && ready.resolve())
    .once("close", () => ready.reject(new Error("the Coordinator ended")));
  await ready.promise;

  const [coordinator = "", web = ""] = hashes.map((hash) => hash.toString("hex"));
  const entry = (Role: string, SANs: string[], WorkloadSecretID = "") => ({ SANs, WorkloadSecretID, Role });
  const manifest = Buffer.from(
    JSON.stringify({
      Policies: {
        [coordinator]: entry("coordinator", []),
        [web]: entry("", ["web", "*", "203.0.113.34"], workloadSecretId),
      },
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    }),
  );
  const owner = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${address}:1313`, keys: owner, handshakeMs: 5000 });
  await client.call(UserAPI.method.setManifest, { manifest, policies }, new Date(now().getTime() + 10_000));
  client.close();

  const attester = await openSimulatedAttester(join(directory, "vm1"));
  const keys = await generateEcKey("P-256");
  return { child, keys, enrolled: async () => enroll(`${address}:7777`, attester, keys, now) };
}

function measured(child: ChildProcess, request: () => Promise<void>): MeasuredServer {
  return {
    async measure(times) {
      let left = times;
      const work = async (): Promise<void> => {
        while (left-- > 0) await request();
      };
      const before = processorTime(child);
      await Promise.all(Array.from({ length: CONCURRENCY }, work));
      return (processorTime(child) - before) / times;
    },
    async stop() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Of all threads of a process, in seconds. Linux counts it to the nanosecond here, and to ten milliseconds in `stat`. */
export function processorTime({ pid }: ChildProcess): number {
  const tasks = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(tasks).map(
    (task) => readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ")[0],
  );
  return nanoseconds.reduce((sum, time) => sum + Number(time), 0) / 1e9;
}
