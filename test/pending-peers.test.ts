import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { parseTransition } from "../manifest/transition.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { makeAccount, programOptions } from "./kubernetes-api/accounts.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";
import { leaveFor } from "./owner-leave.ts";
import type { Program } from "./programs.ts";
import { call, type Client, createDeployment, type Deployment, type Manifest } from "./state-deployment.ts";

/** Owners who are at different Coordinators, which share a history on a real etcd and kube-apiserver. */

const missing = NO_KUBERNETES_API ?? (process.getuid?.() === 0 ? undefined : "mounting a service account takes root");

const ADDRESSES = ["127.43.2.11", "127.43.2.12"] as const;
const [ONE, TWO] = ADDRESSES;

if (missing !== undefined) test.skip(`owners at several Coordinators: ${missing}`);

describe.runIf(missing === undefined)("owners at several Coordinators", () => {
  let directory: string;
  let api: KubernetesApi;
  let deployment: Deployment;
  let ada: KeyPair;
  let ben: KeyPair;
  const running = new Map<string, Program>();
  let startAt: (address: string) => void;

  beforeAll(async () => {
    [ada, ben] = [await generateEcKey("P-256"), await generateEcKey("P-384")];
    directory = mkdtempSync(join(tmpdir(), "pending-peers-"));
    deployment = await createDeployment(directory, ONE);
    api = await startKubernetesApi({ folder: join(directory, "api"), address: "127.43.2.1" });
    const { within, environment } = programOptions(api, await makeAccount(api, "deployment"));
    const peers = ADDRESSES.map((address) => `${address}:7777`).join();
    startAt = (address) => {
      const own = { CONTRAST_LISTEN_ADDRESS: address, CONTRAST_PEERS: peers };
      const state = join(directory, `state-${address}`);
      running.set(address, deployment.start(state, { within, environment: { ...environment, ...own } }));
    };
    for (const address of ADDRESSES) startAt(address);
    for (const program of running.values()) await program.line("ready");
    await at(ONE, ada, (client) => call(client, UserAPI.method.setManifest, manifestOf("first")));
    await allServe(1);
  }, 180_000);

  afterAll(async () => {
    for (const { child, exited } of running.values()) {
      child.kill("SIGKILL");
      await exited;
    }
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  /** Both owners have to sign. */
  function manifestOf(name: string): Manifest {
    const { manifest, policies } = deployment.manifest(name);
    const WorkloadOwnerKeyDigests = [ada, ben].map(({ publicKey }) => toHex(spkiDigest(publicKey)));
    const document = {
      ...JSON.parse(manifest.toString()),
      WorkloadOwnerKeyDigests,
      WorkloadOwnerThreshold: 2,
    } as object;
    return { manifest: Buffer.from(JSON.stringify(document)), policies };
  }

  async function at<T>(address: string, keys: KeyPair, use: (client: Client) => Promise<T>): Promise<T> {
    const client: Client = new ChannelClient({ target: `${address}:1313`, keys, handshakeMs: 10_000 });
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  async function propose(address: string, keys: KeyPair, next: Manifest) {
    return at(address, keys, async (client) => {
      const leave = await leaveFor(client, keys, next.manifest);
      return call(client, UserAPI.method.setManifest, { ...next, ...leave, leavePending: true });
    });
  }

  async function sign(address: string, keys: KeyPair, { manifest }: Manifest) {
    return at(address, keys, async (client) => {
      const manifestDigest = createHash("sha256").update(manifest).digest();
      return call(client, UserAPI.method.signPending, { manifestDigest, ...(await leaveFor(client, keys, manifest)) });
    });
  }

  /** The test's own time is the bound. */
  async function allServe(generation: number): Promise<void> {
    for (const address of ADDRESSES) {
      const serves = async (): Promise<boolean> =>
        at(address, ada, (client) => call(client, UserAPI.method.getStatus, {})).then(
          ({ inForce }) => inForce?.generation === generation,
          () => false,
        );
      while (!(await serves())) await sleep(50);
    }
  }

  test(
    "one signs at one Coordinator, the other at another, and both serve the change",
    { timeout: 60_000 },
    async () => {
      const next = manifestOf("second");
      expect((await propose(ONE, ada, next)).pending).toMatchObject({ missingSignatures: 1 });
      const { pending } = await at(TWO, ben, (client) => call(client, UserAPI.method.listPending, {}));
      expect(pending.map(({ missingSignatures }) => missingSignatures)).toEqual([1]);
      const { transitionRecord } = await sign(TWO, ben, next);
      expect(parseTransition(transitionRecord).signatures).toHaveLength(2);
      await allServe(2);
      expect((await at(ONE, ada, (client) => call(client, UserAPI.method.listPending, {}))).pending).toEqual([]);
    },
  );

  test("what is pending outlives the Coordinator that took it", { timeout: 60_000 }, async () => {
    const next = manifestOf("third");
    await propose(TWO, ada, next);
    const program = running.get(TWO);
    program?.child.kill("SIGKILL");
    await program?.exited;
    await sign(ONE, ben, next);
    startAt(TWO);
    await allServe(3);
    const seen = async (): Promise<unknown> => {
      const { forOwners } = await at(ONE, ben, (client) => call(client, UserAPI.method.getStatus, {}));
      return forOwners?.peers.map(({ address, state }) => `${address} ${state}`);
    };
    await expect.poll(seen, { timeout: 30_000 }).toEqual([`${TWO}:7777 active`]);
  });

  test("two changes at two Coordinators at once: one is set, and the other is over", { timeout: 60_000 }, async () => {
    const [left, right] = [manifestOf("left"), manifestOf("right")];
    await Promise.all([propose(ONE, ada, left), propose(TWO, ada, right)]);
    const results = await Promise.allSettled([sign(TWO, ben, left), sign(ONE, ben, right)]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    await allServe(4);
    for (const address of ADDRESSES) {
      expect((await at(address, ben, (client) => call(client, UserAPI.method.listPending, {}))).pending).toEqual([]);
    }
  });
});
