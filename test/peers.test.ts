import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { RemoteError } from "../channel/error.ts";
import { enroll } from "../initializer/enroll.ts";
import { generateEcKey } from "../pki/keys.ts";
import { makeAccount, programOptions } from "./kubernetes-api/accounts.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";
import { keyDigestOf } from "./owner-leave.ts";
import type { Program } from "./programs.ts";
import { call, createDeployment, type Deployment, readHistory, type SeedShare } from "./state-deployment.ts";

/** Three Coordinators as the programs they are, which share a history on a real etcd and kube-apiserver. */

const missing = NO_KUBERNETES_API ?? (process.getuid?.() === 0 ? undefined : "mounting a service account takes root");

const ADDRESSES = ["127.42.2.11", "127.42.2.12", "127.42.2.13"] as const;
const [ONE, TWO, THREE] = ADDRESSES;

if (missing !== undefined) test.skip(`three Coordinators: ${missing}`);

/** Each test goes on with what the one before has left. */
describe.runIf(missing === undefined)("three Coordinators", () => {
  let directory: string;
  let api: KubernetesApi;
  let deployment: Deployment;
  let share: SeedShare;
  let startAt: (address: string) => void;
  const running = new Map<string, Program>();

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "peers-test-"));
    deployment = await createDeployment(directory, ONE);
    api = await startKubernetesApi({ folder: join(directory, "api"), address: "127.42.2.1" });
    const { within, environment } = programOptions(api, await makeAccount(api, "deployment"));
    startAt = (address) => {
      const peers = ADDRESSES.map((other) => `${other}:7777`).join();
      const own = { CONTRAST_LISTEN_ADDRESS: address, CONTRAST_PEERS: peers };
      const state = join(directory, `state-${address}`);
      running.set(address, deployment.start(state, { within, environment: { ...environment, ...own } }));
    };
    for (const address of ADDRESSES) startAt(address);
    for (const program of running.values()) await program.line("ready");
  }, 180_000);

  afterAll(async () => {
    for (const { child, exited } of running.values()) {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
      await exited;
    }
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  function program(address: string): Program {
    const found = running.get(address);
    if (found === undefined) throw new Error(`nothing runs at ${address}`);
    return found;
  }

  async function kill(address: string): Promise<void> {
    program(address).child.kill("SIGKILL");
    await program(address).exited;
  }

  async function readiness(address: string): Promise<string> {
    const answer = await fetch(`http://${address}:9102/probe/readiness`).catch(() => undefined);
    return answer === undefined ? "down" : (await answer.text()).trim();
  }

  /** Resolves when it is so. The test's own time is the bound. */
  async function until(holds: () => Promise<boolean>): Promise<void> {
    while (!(await holds())) await sleep(50);
  }

  /** A set by the owner at one of them. */
  async function setAt(address: string, name: string) {
    const owner = await deployment.workloadOwner(address);
    try {
      return await call(owner, UserAPI.method.setManifest, await deployment.allowed(owner, name));
    } finally {
      owner.close();
    }
  }

  /** What one of them serves: its mesh CA and its last manifest; undefined: nothing. */
  async function served(address: string): Promise<{ meshCa: string; rootCa: string; manifest: string } | undefined> {
    const anybody = await deployment.workloadOwner(address);
    try {
      const { meshCaCert, rootCaCert, history } = await call(anybody, UserAPI.method.getManifests, {});
      const manifest = Buffer.from(history.at(-1)?.manifest ?? []).toString();
      return { meshCa: meshCaCert, rootCa: rootCaCert, manifest };
    } catch (error) {
      if (error instanceof RemoteError && error.transient) return undefined;
      throw error;
    } finally {
      anybody.close();
    }
  }

  async function allServe(name: string): Promise<void> {
    const manifest = deployment.manifest(name).manifest.toString();
    await until(async () => (await Promise.all(ADDRESSES.map(served))).every((one) => one?.manifest === manifest));
    const [one, ...others] = await Promise.all(ADDRESSES.map(served));
    for (const other of others) expect(other).toEqual(one);
  }

  test("what is set at one is served by all, with the same bytes of the mesh CA", { timeout: 60_000 }, async () => {
    share = deployment.openSeedShare(await setAt(ONE, "first"));
    await allServe("first");
    await setAt(TWO, "second");
    await allServe("second");
    expect(program(THREE).log.filter(({ msg }) => msg === "recovered from a peer")).toHaveLength(2);
  });

  test("each gives a workload a certificate of the one mesh CA", { timeout: 60_000 }, async () => {
    const vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
    const hostData = createHash("sha256").update("the policy of second").digest();
    await vendor.launch(join(directory, "workload"), { hostData });
    const attester = await openSimulatedAttester(join(directory, "workload"));
    const issued = [];
    for (const address of ADDRESSES) {
      issued.push(await enroll(`${address}:7777`, attester, await generateEcKey("P-256"), () => new Date()));
    }
    expect(new Set(issued.map(({ meshCaCert }) => meshCaCert)).size).toBe(1);
    expect(new Set(issued.map(({ rootCaCert }) => rootCaCert)).size).toBe(1);
  });

  test("one that is killed comes back without owners", { timeout: 60_000 }, async () => {
    const before = await served(ONE);
    await kill(TWO);
    startAt(TWO);
    await program(TWO).line("recovered from a peer");
    expect(await served(TWO)).toEqual(before);
    expect(program(TWO).stdout()).toContain('"event":"peer_recovery_received"');
  });

  test("of two sets at once one wins, and the other is told of a conflict", { timeout: 60_000 }, async () => {
    const owners = await Promise.all([ONE, THREE].map((address) => deployment.workloadOwner(address)));
    const requests = await Promise.all(owners.map((owner, index) => deployment.allowed(owner, `at-once-${index}`)));
    const sets = await Promise.allSettled(
      owners.map((owner, index) => call(owner, UserAPI.method.setManifest, requests[index] ?? {})),
    );
    for (const owner of owners) owner.close();
    expect(sets.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(sets.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "conflict" } });
    await allServe(`at-once-${sets.findIndex(({ status }) => status === "fulfilled")}`);
  });

  test("one that was paused serves nothing of before when it wakes", { timeout: 60_000 }, async () => {
    const before = await served(THREE);
    program(THREE).child.kill("SIGSTOP");
    await setAt(ONE, "while-paused");
    // Its clock has to see the pause; what is asked meanwhile waits for it, and is what it reads first.
    await sleep(3500);
    const asked = Promise.all(Array.from({ length: 5 }, () => served(THREE)));
    await sleep(200);
    program(THREE).child.kill("SIGCONT");
    for (const answer of await asked) expect(answer?.meshCa).not.toBe(before?.meshCa);
    await allServe("while-paused");
  });

  test(
    "without the store they serve for as long as the bound, and go on when it is back",
    { timeout: 90_000 },
    async () => {
      api.servers[0]?.pause();
      expect(await readiness(ONE)).toBe("active");
      await until(async () => (await Promise.all(ADDRESSES.map(readiness))).every((phase) => phase === "stale"));
      expect(await served(ONE)).toBeUndefined();
      await expect(setAt(ONE, "without-a-store")).rejects.toMatchObject({ code: "stale_state" });
      api.servers[0]?.resume();
      await allServe("while-paused");
    },
  );

  test("after all are gone, owners recover one, and the others follow", { timeout: 90_000 }, async () => {
    const before = await served(ONE);
    for (const address of ADDRESSES) await kill(address);
    for (const address of ADDRESSES) startAt(address);
    for (const address of ADDRESSES) expect(await program(address).line("ready")).toMatchObject({ state: "recovery" });
    const owner = await deployment.seedshareOwner(TWO);
    await call(owner, UserAPI.method.recover, share);
    await allServe("while-paused");
    const after = await served(ONE);
    expect(after && keyDigestOf(after.rootCa)).toEqual(before && keyDigestOf(before.rootCa));
    expect(after?.meshCa).not.toBe(before?.meshCa);
    expect(await readHistory(owner)).toHaveLength(4);
    owner.close();
    for (const address of [ONE, THREE]) expect(program(address).stdout()).toContain('"peer_recovery_received"');
  });
});
