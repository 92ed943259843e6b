import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KubernetesStore } from "../store/kubernetes/kubernetes-store.ts";
import { type Account, makeAccount, storeOptions } from "./kubernetes-api/accounts.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";

/** The store on a real etcd and kube-apiserver, with the rights that deploy/coordinator.yml gives. */

const pointer = Buffer.from("a pointer");
const other = Buffer.from("another pointer");

if (NO_KUBERNETES_API !== undefined) test.skip(`the store on the API of Kubernetes: ${NO_KUBERNETES_API}`);

describe.runIf(NO_KUBERNETES_API === undefined)("on the API of Kubernetes", { timeout: 90_000 }, () => {
  let folder: string;
  let api: KubernetesApi;
  let account: Account;
  let namespaces = 0;
  let store: KubernetesStore;
  const opened: KubernetesStore[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "kubernetes-store-test-"));
    api = await startKubernetesApi({ folder, address: "127.41.1.1" });
  }, 180_000);

  afterAll(async () => {
    await api?.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    account = await makeAccount(api, `test-${++namespaces}`);
    store = await open();
  });

  afterEach(() => {
    for (const each of opened.splice(0)) each.close();
  });

  async function open(name = "coordinator", of = account): Promise<KubernetesStore> {
    const store = await KubernetesStore.open(
      storeOptions(api, of, { random: randomBytes, sleep, monotonic: () => performance.now() }, name),
    );
    opened.push(store);
    return store;
  }

  const configMaps = (name = ""): string => `/api/v1/namespaces/${account.namespace}/configmaps${name && `/${name}`}`;

  test("a new state has no pointer, and what was put and pointed to is there for everybody", async () => {
    expect(await store.latest()).toBeUndefined();
    const digest = await store.put("policies", Buffer.from("a policy"));
    await store.compareAndSwapLatest(undefined, pointer);
    const second = await open();
    expect(await second.get("policies", digest)).toEqual(Buffer.from("a policy"));
    expect(await second.latest()).toEqual(pointer);
    expect(await second.list("policies")).toEqual([digest]);
    expect(await second.list("consents")).toEqual([]);
    await second.remove("policies", digest);
    await second.remove("policies", digest);
    expect(await store.list("policies")).toEqual([]);
    await expect(store.get("policies", digest)).rejects.toMatchObject({ code: "damaged_state", got: "404" });
  });

  test("of two who move the pointer at once one wins, and the other gets conflict", async () => {
    const stores = [store, await open(), await open()];
    for (let round = 0, before: Buffer | undefined; round < 10; round++) {
      const moves = stores.map((each, index) => {
        return each.compareAndSwapLatest(before, Buffer.from(`round ${round}, ${index}`));
      });
      const outcomes = await Promise.allSettled(moves);
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "conflict" });
      }
      before = await store.latest();
      const winner = outcomes.findIndex(({ status }) => status === "fulfilled");
      expect(before?.toString()).toBe(`round ${round}, ${winner}`);
    }
    await expect(store.compareAndSwapLatest(other, pointer)).rejects.toMatchObject({ code: "conflict" });
  });

  test("a consent that another Coordinator removed is in nobody's way", async () => {
    await store.compareAndSwapLatest(undefined, pointer);
    const consent = await store.put("consents", Buffer.from("a consent"));
    const second = await open();
    await second.compareAndSwapLatest(pointer, other);
    await second.remove("consents", consent);
    await store.put("manifests", Buffer.from("a manifest"));
    await store.compareAndSwapLatest(other, pointer);
    expect(await second.latest()).toEqual(pointer);
  });

  test.each([0, 1, 900 * 1024 - 200, 1024 * 1024, 5 * 1024 * 1024])("a record of %i bytes", async (size) => {
    const bytes = randomBytes(size);
    const digest = await store.put("policies", bytes);
    expect(await store.put("policies", bytes)).toBe(digest);
    expect((await store.get("policies", digest)).equals(bytes)).toBe(true);
    expect(await store.list("policies")).toEqual([digest]);
    await store.remove("policies", digest);
    const { body } = await api.admin("GET", configMaps());
    const names = (body as { items: { metadata: { name: string } }[] }).items.map(({ metadata }) => metadata.name);
    expect(names.filter((name) => name.includes("policies"))).toEqual([]);
  });

  test("a record that is larger than any can be is refused by its size, and nothing of it is written", async () => {
    await expect(store.put("policies", Buffer.alloc(57 * 1024 * 1024))).rejects.toMatchObject({
      code: "state_not_written",
      got: `${57 * 1024 * 1024} bytes`,
    });
    expect(await store.list("policies")).toEqual([]);
  });

  test("a pointer that somebody else moved or removed is noticed, own moves are not", async () => {
    await store.compareAndSwapLatest(await store.latest(), pointer);
    let told = 0;
    const stop = store.watch(() => void told++);
    for (let round = 0; round < 20; round++) {
      await store.compareAndSwapLatest(pointer, other);
      await store.compareAndSwapLatest(other, pointer);
    }
    await sleep(500);
    expect(told).toBe(0);
    const second = await open();
    await second.compareAndSwapLatest(pointer, other);
    await expect.poll(() => told, { timeout: 5000 }).toBe(1);
    expect(await store.latest()).toEqual(other);
    await api.admin("DELETE", configMaps("coordinator-latest"));
    await expect.poll(() => told, { timeout: 5000 }).toBe(2);
    await expect(store.latest()).rejects.toMatchObject({ code: "damaged_state", where: "latest" });
    stop();
  });
});
