import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { annexOf, secretsOf } from "../coordinator/state/annex-in-force.ts";
import { Roots } from "../coordinator/state/roots.ts";
import { StateGuard } from "../coordinator/state/state-guard.ts";
import { amend, sealed, served, withSecret } from "../coordinator/state/test-amend.ts";
import { keepTidy } from "../coordinator/state/tidy.ts";
import { ConfigMaps } from "../store/kubernetes/config-maps.ts";
import { KubernetesStore } from "../store/kubernetes/kubernetes-store.ts";
import { Objects } from "../store/kubernetes/objects.ts";
import { Sweeper } from "../store/kubernetes/sweep.ts";
import { type Named, RECORD_KINDS, type RecordKind } from "../store/store.ts";
import { manifestOf, now, ownerKeys, setRequest } from "../coordinator/test-deployment.ts";
import { ApiClient } from "../kubernetes/api/client.ts";
import { type Account, makeAccount, storeOptions } from "./kubernetes-api/accounts.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";

/** Garbage collection on a real API server, at every moment of a set on another Coordinator. */

const sharing = { monotonic: () => performance.now(), hold: false };
const record = Buffer.from("a policy that a set has left which failed");
const pointer = Buffer.from("a pointer");
const other = Buffer.from("another pointer");

function namedOf(...policies: readonly Buffer[]): Named {
  const none = Object.fromEntries(RECORD_KINDS.map((kind) => [kind, new Set<string>()])) as Record<
    RecordKind,
    Set<string>
  >;
  return { ...none, policies: new Set(policies.map((policy) => sha256Hex(policy))) };
}

if (NO_KUBERNETES_API !== undefined) test.skip(`garbage collection on the API of Kubernetes: ${NO_KUBERNETES_API}`);

describe.runIf(NO_KUBERNETES_API === undefined)("garbage collection", { timeout: 90_000 }, () => {
  let folder: string;
  let api: KubernetesApi;
  let account: Account;
  let namespaces = 0;
  const opened: { close(): void }[] = [];
  let clock: number;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "kubernetes-sweep-test-"));
    api = await startKubernetesApi({ folder, address: "127.41.4.1" });
  }, 180_000);

  afterAll(async () => {
    await api?.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    account = await makeAccount(api, `test-${++namespaces}`);
    clock = 0;
  });

  afterEach(() => {
    for (const each of opened.splice(0)) each.close();
  });

  async function open(sweepAgeMs?: number): Promise<KubernetesStore> {
    const around = {
      random: randomBytes,
      sleep,
      monotonic: () => clock,
      ...(sweepAgeMs !== undefined && { sweepAgeMs }),
    };
    const store = await KubernetesStore.open(storeOptions(api, account, around));
    opened.push(store);
    return store;
  }

  /** What a sweep calls, with a gate before each removal or before it writes the pointer's object. */
  function gatedSweeper(gate: "remove" | "touchIf"): { sweeper: Sweeper; atGate: Promise<void>; go: () => void } {
    const place = { host: api.address, port: api.port, account: account.folder };
    const client = new ApiClient(place, { timeoutMs: 5000, maxBytes: 2 ** 22 });
    opened.push(client);
    const maps = new ConfigMaps({ client, namespace: account.namespace, random: randomBytes, sleep });
    const arrived = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    const wait = async (): Promise<void> => {
      arrived.resolve();
      await open.promise;
    };
    const { remove, touchIf } = { remove: maps.remove.bind(maps), touchIf: maps.touchIf.bind(maps) };
    if (gate === "remove") maps.remove = async (...args) => (await wait(), remove(...args));
    else maps.touchIf = async (...args) => (await wait(), touchIf(...args));
    const sweeper = new Sweeper({ maps, objects: new Objects("coordinator"), monotonic: () => 0, leastAgeMs: 0 });
    return { sweeper, atGate: arrived.promise, go: open.resolve };
  }

  async function pointerVersion(): Promise<string> {
    const { body } = await api.admin("GET", `/api/v1/namespaces/${account.namespace}/configmaps/coordinator-latest`);
    return (body as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
  }

  test("what failed sets left goes after an hour, on the clock that only goes forward; what the history names stays", async () => {
    const store = await open();
    const guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
    await guard.set(setRequest());
    await guard.set(setRequest({ names: ["web", "www"] }, guard));
    // A crash after everything but the move of the pointer, and a large policy in parts.
    await store.put("policies", randomBytes(2 * 1024 * 1024));
    await store.put("manifests", manifestOf({ names: ["never"] }));
    const roots = new Roots(store);
    const { raw } = guard.active().latest;
    const sweep = async (): Promise<number> => store.sweep(raw, await roots.namedBy(raw));
    expect(await sweep()).toBe(0);
    clock += 3_599_000;
    expect(await sweep()).toBe(0);
    clock += 1000;
    expect(await store.sweep(Buffer.from("a pointer of before"), namedOf())).toBe(0);
    expect(await sweep()).toBe(4);
    expect(await store.list("policies")).toHaveLength(1);
    expect((await guard.history()).steps).toHaveLength(2);
    const fresh = await open();
    expect(
      (await StateGuard.load({ store: fresh, allowInsecure: true, now, random: randomBytes, sharing })).phase,
    ).toBe("recovery");
  });

  test("ciphertexts that no annex names go after an hour; what one in force or one that waits names stays", async () => {
    const store = await open();
    const guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
    await guard.set(setRequest());
    for (const value of ["one", "two", "three"]) await amend(guard, await withSecret(guard, "db", value), [ownerKeys]);
    const [waiting, named] = [await sealed(guard, "waiting", 1), annexOf(guard.active())];
    const roots = new Roots(store);
    const sweep = async (): Promise<number> => {
      const { raw } = guard.active().latest;
      return store.sweep(raw, await roots.namedBy(raw));
    };
    expect(await sweep()).toBe(0);
    clock += 3_600_000;
    // The first version, and what nobody named within the hour.
    expect(await sweep()).toBe(2);
    expect(new Set(await store.list("secrets"))).toEqual(new Set(secretsOf(named).map((secret) => secret.sealed)));
    expect(await store.list("annexes")).toHaveLength(3);
    expect(await served(guard)).toEqual({ "db@3": "three", "db@2": "two" });
    // An owner who comes too late is told so, and nothing is in force.
    const late = {
      ...named,
      secrets: new Map([...named.secrets, ["waiting", { latestVersion: 1, versions: [waiting] }]]),
    };
    await expect(amend(guard, late, [ownerKeys])).rejects.toMatchObject({ code: "not_sealed" });
    expect((await guard.history()).steps).toHaveLength(4);
  });

  test("a Coordinator sweeps after a set", async () => {
    const store = await open(0);
    const guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
    const left = await store.put("policies", record);
    const failures: unknown[] = [];
    let removed = 0;
    const roots = new Roots(store);
    const onSwept = (count: number): void => void (removed += count);
    const onFailure = (error: unknown): void => void failures.push(error);
    const stop = keepTidy({ guard, store, roots, onSwept, onFailure, everyMs: 60_000 });
    await guard.set(setRequest());
    await expect.poll(() => removed, { timeout: 10_000 }).toBe(1);
    expect(failures).toEqual([]);
    expect(await store.list("policies")).not.toContain(left);
    stop();
  });

  test("a set that begins after the sweep has looked keeps what it puts again", async () => {
    const store = await open();
    await store.put("policies", record);
    await store.compareAndSwapLatest(undefined, pointer);
    const { sweeper, atGate, go } = gatedSweeper("remove");
    const sweeping = sweeper.run(await pointerVersion(), namedOf());
    await atGate;
    const digest = await store.put("policies", record);
    await store.compareAndSwapLatest(pointer, other);
    go();
    expect(await sweeping).toBe(0);
    expect(await store.get("policies", digest)).toEqual(record);
  });

  test("a set that has put its records, and finds them removed, moves no pointer and can be made again", async () => {
    const store = await open();
    const sweeping = await open(0);
    await store.compareAndSwapLatest(undefined, pointer);
    await store.put("policies", record);
    expect(await sweeping.sweep(pointer, namedOf())).toBe(1);
    await expect(store.compareAndSwapLatest(pointer, other)).rejects.toMatchObject({ code: "state_not_written" });
    expect(await store.latest()).toEqual(pointer);
    const digest = await store.put("policies", record);
    await store.compareAndSwapLatest(pointer, other);
    expect(await store.get("policies", digest)).toEqual(record);
  });

  test("a set that puts its records while the sweep looks keeps them, and moves the pointer", async () => {
    const store = await open();
    await store.put("policies", record);
    await store.compareAndSwapLatest(undefined, pointer);
    const { sweeper, atGate, go } = gatedSweeper("touchIf");
    const sweeping = sweeper.run(await pointerVersion(), namedOf());
    await atGate;
    const digest = await store.put("policies", record);
    go();
    expect(await sweeping).toBe(0);
    await store.compareAndSwapLatest(pointer, other);
    expect(await store.get("policies", digest)).toEqual(record);
  });

  test("a sweep that was overtaken by a set removes nothing", async () => {
    const store = await open();
    const digest = await store.put("policies", record);
    await store.compareAndSwapLatest(undefined, pointer);
    const { sweeper, atGate, go } = gatedSweeper("touchIf");
    const sweeping = sweeper.run(await pointerVersion(), namedOf());
    await atGate;
    await store.compareAndSwapLatest(pointer, other);
    go();
    expect(await sweeping).toBe(0);
    expect(await store.get("policies", digest)).toEqual(record);
  });

  test("sets and sweeps on three Coordinators at once: whatever the pointer names is there", async () => {
    const [setter, ...sweepers] = [await open(), await open(0), await open(0)];
    const over = new AbortController();
    let swept = 0;
    const sweeping = sweepers.map(async (store) => {
      while (!over.signal.aborted) {
        const latest = await store.latest();
        if (latest === undefined) continue;
        swept += await store.sweep(latest, namedIn(latest));
        await sleep(randomBytes(1).readUInt8() / 2);
      }
    });
    const outcomes = { moved: 0, failed: 0 };
    let before: Buffer | undefined;
    for (let round = 0; round < 40; round++) {
      const policies = [1, 2, 3].map((number) => Buffer.from(`policy ${number} of ${round}`));
      // Of a set that failed.
      for (const policy of policies) await setter?.put("policies", policy);
      if (round % 2 === 0) await sleep(20);
      const digests: string[] = [];
      for (const policy of policies) digests.push((await setter?.put("policies", policy)) ?? "");
      const next = Buffer.from(JSON.stringify(digests));
      try {
        await setter?.compareAndSwapLatest(before, next);
        before = next;
        outcomes.moved++;
      } catch (error) {
        expect((error as { code: string }).code).toMatch(/^(state_not_written|conflict)$/);
        outcomes.failed++;
      }
      expect(await setter?.latest()).toEqual(before);
      if (before === undefined) continue;
      for (const digest of JSON.parse(before.toString()) as string[]) await setter?.get("policies", digest);
    }
    over.abort();
    await Promise.all(sweeping);
    expect(outcomes.moved).toBeGreaterThan(1);
    expect(swept).toBeGreaterThan(0);
  });

  function namedIn(latest: Buffer): Named {
    return { ...namedOf(), policies: new Set(JSON.parse(latest.toString()) as string[]) };
  }
});
