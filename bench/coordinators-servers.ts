import { type ChildProcess, spawn } from "node:child_process";
import { createHash, sign, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Attester } from "../attestation/evidence.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { enroll } from "../initializer/enroll.ts";
import { changeToSign } from "../manifest/change.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import type { BenchStore } from "./coordinators-store.ts";

/** Coordinators as processes of their own on addresses of loopback, with an owner and a workload in this one. */

const now = (): Date => new Date();
const deadline = (): Date => new Date(now().getTime() + 20_000);

export interface Deployment {
  readonly directory: string;
  readonly policies: readonly Buffer[];
  readonly rootDigest: string;
  readonly owner: KeyPair;
  readonly workload: KeyPair;
  readonly attester: Attester;
}

export async function makeDeployment(directory: string): Promise<Deployment> {
  const policies = ["the Coordinator's policy", "web's policy"].map((text) => Buffer.from(text));
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now());
  for (const [index, policy] of policies.entries()) {
    await vendor.launch(join(directory, `vm${index}`), { hostData: createHash("sha256").update(policy).digest() });
  }
  const attester = await openSimulatedAttester(join(directory, "vm1"));
  const [owner, workload] = [await generateEcKey("P-384"), await generateEcKey("P-256")];
  return { directory, policies, rootDigest: vendor.rootDigest, owner, workload, attester };
}

export class BenchCoordinator {
  readonly address: string;
  readonly #deployment: Deployment;
  readonly #peers: readonly string[];
  readonly #store: BenchStore | undefined;
  #child: ChildProcess | undefined;
  #lines: Line[] = [];

  /** @param peers addresses of all; none: it has no peers. @param store undefined: a folder of its own */
  constructor(deployment: Deployment, address: string, peers: readonly string[], store: BenchStore | undefined) {
    this.#deployment = deployment;
    this.address = address;
    this.#peers = peers;
    this.#store = store;
  }

  get process(): ChildProcess {
    if (this.#child === undefined) throw new Error("it does not run");
    return this.#child;
  }

  /** @returns when it listens */
  async start(): Promise<void> {
    const { directory } = this.#deployment;
    const main = join(import.meta.dirname, "../coordinator/main.ts");
    const command = [...(this.#store?.within ?? []), process.execPath, ...process.execArgv, main];
    const [file = "", ...args] = command;
    const child = spawn(file, args, {
      env: {
        PATH: process.env["PATH"],
        CONTRAST_TEE: "simulated",
        CONTRAST_ALLOW_INSECURE: "1",
        CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm0"),
        CONTRAST_STATE_DIR: join(directory, `state-${this.address}`),
        CONTRAST_LISTEN_ADDRESS: this.address,
        ...(this.#peers.length > 0 && { CONTRAST_PEERS: this.#peers.map((address) => `${address}:7777`).join(",") }),
        ...this.#store?.environment,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    this.#lines = [];
    createInterface({ input: child.stderr }).on("line", (text) => this.#lines.push(JSON.parse(text) as Line));
    await this.logged("ready");
  }

  /** @returns when it logged that, by its clock */
  async logged(message: string): Promise<number> {
    for (;;) {
      const line = this.#lines.find(({ msg }) => msg === message);
      if (line !== undefined) return Date.parse(line.time);
      if (this.process.exitCode !== null)
        throw new Error(`it ended without "${message}": ${JSON.stringify(this.#lines)}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async kill(): Promise<void> {
    const exited = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await exited;
  }

  /** As the Initializer of a pod does. @returns the mesh CA's certificate */
  async enroll(): Promise<string> {
    const { attester, workload } = this.#deployment;
    return (await enroll(`${this.address}:7777`, attester, workload, now)).meshCaCert;
  }

  /** @param name in the manifest. @returns the mesh CA's certificate */
  async set(name: string): Promise<string> {
    const { owner, policies } = this.#deployment;
    const manifest = this.#manifest(name);
    const client = new ChannelClient({ target: `${this.address}:1313`, keys: owner, handshakeMs: 5000 });
    try {
      const before = await client.call(UserAPI.method.getManifests, {}, deadline()).catch(() => undefined);
      const previous = before?.history.at(-1)?.transition;
      if (before === undefined || previous === undefined) {
        const { meshCaCert } = await client.call(
          UserAPI.method.setManifest,
          { manifest, policies: [...policies] },
          deadline(),
        );
        return meshCaCert;
      }
      const meshKey = spkiDigest(new X509Certificate(before.meshCaCert).publicKey);
      const signature = sign("sha256", changeToSign({ manifest, previous, meshKey }), owner.privateKey);
      const leave = { signature: { publicKey: spki(owner.publicKey), signature }, signedMeshKey: meshKey };
      const answer = await client.call(
        UserAPI.method.setManifest,
        { manifest, policies: [...policies], ...leave },
        deadline(),
      );
      return answer.meshCaCert;
    } finally {
      client.close();
    }
  }

  #manifest(name: string): Buffer {
    const { policies, rootDigest, owner } = this.#deployment;
    const [coordinator = "", web = ""] = policies.map((policy) => createHash("sha256").update(policy).digest("hex"));
    return Buffer.from(
      JSON.stringify({
        Policies: { [coordinator]: { SANs: [], Role: "coordinator" }, [web]: { SANs: ["web", name] } },
        ReferenceValues: { insecure: [{ RootDigest: rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
        WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
        SeedshareOwnerPubKeys: [],
      }),
    );
  }
}

interface Line {
  readonly msg: string;
  readonly time: string;
}
