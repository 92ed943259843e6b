import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ConfigMaps } from "../store/kubernetes/config-maps.ts";
import { KubernetesStore } from "../store/kubernetes/kubernetes-store.ts";
import { ApiClient } from "../kubernetes/api/client.ts";
import { type Account, makeAccount, renewToken, storeOptions } from "./kubernetes-api/accounts.ts";
import { Relay } from "./kubernetes-api/relay.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";

/**
 * What happens to a real API server and to the way to it while the store uses it: expiry, compaction, disconnects, restarts,
 * pauses. Two API servers have one etcd: what is done through the second is news to the first.
 */

const pointer = Buffer.from("a pointer");
const other = Buffer.from("another pointer");

const FIRST = "127.41.3.1";
const SECOND = "127.41.3.2";
const RELAY = "127.41.3.3";

if (NO_KUBERNETES_API !== undefined) test.skip(`faults of the API of Kubernetes: ${NO_KUBERNETES_API}`);

describe.runIf(NO_KUBERNETES_API === undefined)("when the API of Kubernetes has a fault", { timeout: 90_000 }, () => {
  let folder: string;
  let api: KubernetesApi;
  let relay: Relay;
  let account: Account;
  let namespaces = 0;
  const opened: KubernetesStore[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "kubernetes-store-faults-test-"));
    api = await startKubernetesApi({ folder, address: FIRST, others: [SECOND], names: [RELAY] });
    relay = await Relay.open(RELAY, api.port, { host: FIRST, port: api.port });
  }, 180_000);

  afterAll(async () => {
    relay?.close();
    await api?.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    account = await makeAccount(api, `test-${++namespaces}`);
  });

  afterEach(() => {
    for (const each of opened.splice(0)) each.close();
  });

  async function open(host: string): Promise<KubernetesStore> {
    const options = storeOptions(api, account, { random: randomBytes, sleep, monotonic: () => performance.now() });
    const store = await KubernetesStore.open({ ...options, place: { host, port: api.port, account: account.folder } });
    opened.push(store);
    return store;
  }

  interface Watched {
    readonly near: KubernetesStore;
    readonly far: KubernetesStore;
    readonly told: () => number;
  }

  /** A store behind the relay that watches, and one on the other API server. */
  async function watched(): Promise<Watched> {
    const [near, far] = [await open(RELAY), await open(SECOND)];
    await far.compareAndSwapLatest(await far.latest(), pointer);
    expect(await near.latest()).toEqual(pointer);
    let told = 0;
    near.watch(() => void told++);
    await far.compareAndSwapLatest(pointer, other);
    await expect.poll(() => told, { timeout: 10_000 }).toBe(1);
    expect(await near.latest()).toEqual(other);
    return { near, far, told: () => told };
  }

  /** That the watch still works. */
  async function moveAndSee({ near, far, told }: Watched): Promise<void> {
    const [before, seen] = [await far.latest(), told()];
    expect(await near.latest()).toEqual(before);
    const next = randomBytes(20);
    await far.compareAndSwapLatest(before, next);
    await expect.poll(told, { timeout: 30_000 }).toBeGreaterThan(seen);
    expect(await near.latest()).toEqual(next);
  }

  test("connections that are cut, again and again, hide no move of the pointer", async () => {
    const store = await watched();
    for (let round = 0; round < 4; round++) {
      relay.cut();
      await moveAndSee(store);
    }
  });

  test("a move while nothing arrives is seen when it does again", async () => {
    const { near, far, told } = await watched();
    relay.silence();
    await far.compareAndSwapLatest(other, pointer);
    await expect(near.latest()).rejects.toMatchObject({
      code: "state_unavailable",
      where: "get configmaps/coordinator-latest",
    });
    expect(told()).toBe(1);
    relay.speak();
    await expect.poll(told, { timeout: 10_000 }).toBe(2);
    expect(await near.latest()).toEqual(pointer);
  });

  test("an API server that is killed while the pointer moves and etcd forgets the moves", async () => {
    const store = await watched();
    await api.servers[0]?.stop();
    for (let round = 0, before = other; round < 20; round++) {
      const next = randomBytes(20);
      await store.far.compareAndSwapLatest(before, next);
      before = next;
    }
    await api.compact();
    await expect(store.near.latest()).rejects.toMatchObject({ code: "state_unavailable" });
    await api.servers[0]?.start();
    await expect.poll(store.told, { timeout: 30_000 }).toBe(2);
    await moveAndSee(store);
  });

  test("a watch that begins when etcd has forgotten the pointer's own revision", async () => {
    const [near, far] = [await open(FIRST), await open(SECOND)];
    await far.compareAndSwapLatest(undefined, pointer);
    for (let round = 0; round < 5; round++) await far.put("consents", randomBytes(20));
    await api.servers[0]?.stop();
    await api.compact();
    await api.servers[0]?.start();
    expect(await near.latest()).toEqual(pointer);
    let told = 0;
    near.watch(() => void told++);
    // Until the watch is under way.
    await sleep(1000);
    await far.compareAndSwapLatest(pointer, other);
    await expect.poll(() => told, { timeout: 5000 }).toBe(1);
  });

  test("a list whose start was compacted away begins anew", async () => {
    const store = await open(FIRST);
    const digests: string[] = [];
    for (let record = 0; record < 12; record++)
      digests.push(await store.put("consents", Buffer.from(`record ${record}`)));
    const client = new ApiClient(
      { host: FIRST, port: api.port, account: account.folder },
      { timeoutMs: 5000, maxBytes: 2 ** 22 },
    );
    let pages = 0;
    const call = client.call.bind(client);
    // The one change: pages of five, and a compaction after the first.
    client.call = async (request) => {
      const answer = await call({ ...request, path: request.path.replace("limit=500", "limit=5") });
      if (++pages === 1) {
        await store.put("consents", Buffer.from("one more"));
        // It keeps the start of a list in its memory, too.
        await api.servers[0]?.stop();
        await api.compact();
        await api.servers[0]?.start();
      }
      return answer;
    };
    const maps = new ConfigMaps({ client, namespace: account.namespace, random: randomBytes, sleep });
    const found = await maps.list("contrast.edgeless.systems/kind=consents");
    expect(found).toHaveLength(13);
    expect(new Set(found.map(({ name }) => name)).size).toBe(13);
    expect(pages).toBeGreaterThan(4);
    client.close();
  });

  test("a paused API server: what a move says of itself is true, also of one that arrives late", async () => {
    const [near, far] = [await open(FIRST), await open(SECOND)];
    let before: Buffer | undefined;
    for (let round = 0; round < 3; round++) {
      const next = Buffer.from(`round ${round}`);
      await near.latest();
      api.servers[0]?.pause();
      const move = near.compareAndSwapLatest(before, next).then(
        () => "moved",
        (error: unknown) => (error as { code: string }).code,
      );
      await sleep(round === 0 ? 500 : 6000);
      api.servers[0]?.resume();
      const outcome = await move;
      expect(outcome).toMatch(/^(moved|state_unavailable)$/);
      await sleep(1000);
      expect(await far.latest()).toEqual(outcome === "moved" ? next : before);
      before = await far.latest();
    }
  });

  test("a move whose answer is lost is found to have been made", async () => {
    const [near, far] = [await open(RELAY), await open(SECOND)];
    await near.latest();
    const move = near.compareAndSwapLatest(undefined, pointer);
    // Cut as soon as it has arrived, which the other API server sees.
    for (; (await far.latest()) === undefined;);
    relay.cut();
    await move;
    expect(await near.latest()).toEqual(pointer);
  });

  test("tokens that are renewed meanwhile are used, and those that are not valid are refused", async () => {
    const store = await open(FIRST);
    await renewToken(api, account);
    expect(await store.latest()).toBeUndefined();
    const { writeFile } = await import("node:fs/promises");
    await writeFile(join(account.folder, "token"), "no-token");
    await expect(store.latest()).rejects.toMatchObject({
      code: "state_forbidden",
      got: '401 "Unauthorized"',
      hint: expect.stringContaining("coordinator.yml") as string,
    });
    for (const damage of ["", "a token with\nmore"]) {
      await writeFile(join(account.folder, "token"), damage);
      await expect(store.latest()).rejects.toMatchObject({ code: "state_forbidden" });
    }
    await renewToken(api, account);
    await writeFile(join(account.folder, "ca.crt"), "no certificate");
    await expect(store.latest()).rejects.toMatchObject({ code: "state_unavailable" });
  });
});
