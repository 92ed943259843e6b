import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { StateGuard } from "../coordinator/state/state-guard.ts";
import { KubernetesStore } from "../store/kubernetes/kubernetes-store.ts";
import { encodeRecord } from "../store/record.ts";
import type { Store } from "../store/store.ts";
import { now, setRequest } from "../coordinator/test-deployment.ts";
import { type Account, applyRights, makeAccount, storeOptions } from "./kubernetes-api/accounts.ts";
import { changed, type ConfigMap, Liar, type Lie } from "./kubernetes-api/liar.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";

/**
 * The API server is the host's. Whatever it answers, the store says what is wrong, and nothing that was stored is lost or
 * taken for something else. The liar stands before a real API server, and lies where a test has it lie.
 */

const policy = Buffer.from("a policy");
const digest = sha256Hex(policy);
const pointer = Buffer.from("a pointer");
const other = Buffer.from("another pointer");
const RECORD = `coordinator-policies-${digest}`;

const HONEST = "127.41.5.1";
const LIAR = "127.41.5.2";

if (NO_KUBERNETES_API !== undefined) test.skip(`a Kubernetes API that lies: ${NO_KUBERNETES_API}`);

describe.runIf(NO_KUBERNETES_API === undefined)("an API of Kubernetes that lies", { timeout: 60_000 }, () => {
  let folder: string;
  let api: KubernetesApi;
  let liar: Liar;
  let account: Account;
  let namespaces = 0;
  let store: KubernetesStore;
  let honest: KubernetesStore;
  const opened: KubernetesStore[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "kubernetes-store-lies-test-"));
    api = await startKubernetesApi({ folder, address: HONEST, names: [LIAR] });
    liar = await Liar.open(api, LIAR);
  }, 180_000);

  afterAll(async () => {
    liar?.close();
    await api?.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    liar.tell(undefined);
    account = await makeAccount(api, `test-${++namespaces}`);
    store = await open(LIAR);
    honest = await open(HONEST);
    await store.put("policies", policy);
    await store.compareAndSwapLatest(undefined, pointer);
  });

  afterEach(async () => {
    liar.tell(undefined);
    // Nothing is lost, and nothing has moved.
    expect(await honest.get("policies", digest)).toEqual(policy);
    for (const each of opened.splice(0)) each.close();
  });

  async function open(host: string, folder = account.folder): Promise<KubernetesStore> {
    const options = storeOptions(api, account, { random: randomBytes, sleep, monotonic: () => performance.now() });
    const store = await KubernetesStore.open({ ...options, place: { host, port: api.port, account: folder } });
    opened.push(store);
    return store;
  }

  /** Everything that a store can be asked for. */
  function uses(of: Store): (readonly [string, () => Promise<unknown>])[] {
    return [
      ["get", () => of.get("policies", digest)],
      ["put", () => of.put("policies", policy)],
      ["list", () => of.list("policies")],
      ["latest", () => of.latest()],
      ["swap", () => of.compareAndSwapLatest(pointer, other)],
    ];
  }

  const answerOf = (body: string, status = 200): Lie => {
    return (_, answer) => void answer.writeHead(status, { "content-type": "application/json" }).end(body);
  };

  test.each<[string, Lie, string]>([
    ["no JSON", answerOf("<html>Welcome</html>"), "not JSON"],
    ["nothing", answerOf(""), "not what the API"],
    ["null", answerOf("null"), "not what the API"],
    ["a list", answerOf("[]"), "not what the API"],
    ["an object without anything", answerOf("{}"), "not what the API"],
    ["a prototype", answerOf('{"__proto__": {"kind": "ConfigMap"}}'), "not what the API"],
    ["names of JSON that is too deep", answerOf("[".repeat(100_000)), "not JSON"],
    ["a redirect", (_, answer) => void answer.writeHead(302, { location: "https://127.0.0.1/" }).end(), "302"],
    ["an error", answerOf('{"message": "etcdserver: no leader"}', 500), '500 "etcdserver: no leader"'],
    ["an error in another form", answerOf('{"message": {"a": 1}}', 503), "503"],
    ["half of an answer", half, "ECONNRESET"],
    ["an answer without an end", endless, "too large"],
    ["a connection that is closed", (_, answer) => void answer.destroy(), "ECONNRESET"],
  ])("%s is no answer, and the store says so", async (_name, lie, got) => {
    liar.tell(lie);
    for (const [name, use] of uses(store)) {
      if (name === "swap") continue;
      await expect(use(), name).rejects.toMatchObject({
        code: "state_unavailable",
        where: expect.stringMatching(/^(get|create|list) configmaps/) as string,
        got: expect.stringContaining(got) as string,
      });
    }
    liar.tell(undefined);
    expect(await store.latest()).toEqual(pointer);
  });

  test("no answer, and one that comes byte by byte, end in time", async () => {
    for (const lie of [() => undefined, dripping]) {
      liar.tell(lie);
      await expect(store.latest()).rejects.toMatchObject({
        code: "state_unavailable",
        got: expect.stringContaining("no whole answer in time") as string,
      });
    }
  });

  test("of too many requests some are made again when the server says, and who must wait long is told how long", async () => {
    let refused = 0;
    liar.tell(async (_, answer, truth) => {
      if (refused++ < 2) return void answer.writeHead(429, { "retry-after": "1" }).end("{}");
      const { status, headers, body } = await truth();
      answer.writeHead(status, headers).end(body);
    });
    expect(await store.latest()).toEqual(pointer);
    expect(refused).toBe(3);
    liar.tell((_, answer) => void answer.writeHead(429, { "retry-after": "600" }).end("{}"));
    await expect(store.latest()).rejects.toMatchObject({
      code: "state_unavailable",
      got: "429",
      retryAfterMs: 600_000,
    });
    expect(liar.asked).toHaveLength(1);
  });

  const swapped = encodeRecord("policies", Buffer.from("evil")).toString("base64");
  test.each<[string, (object: ConfigMap) => unknown, object]>([
    [
      "another record",
      (it) => ({ ...it, binaryData: { record: swapped } }),
      { code: "damaged_state", where: `policies/${digest}` },
    ],
    [
      "a record of another kind",
      (it) => ({ ...it, binaryData: { record: encodeRecord("manifests", policy).toString("base64") } }),
      { code: "damaged_state" },
    ],
    [
      "a record of a later version",
      (it) => ({ ...it, binaryData: { record: Buffer.from("contrast policy 2 x\n").toString("base64") } }),
      { code: "unknown_state_version" },
    ],
    ["an empty record", (it) => ({ ...it, binaryData: { record: "" } }), { code: "damaged_state" }],
    ["no record", (it) => ({ ...it, binaryData: { other: "" } }), { code: "damaged_state", want: "binaryData.record" }],
    ["no data", ({ kind, metadata }) => ({ kind, metadata }), { code: "damaged_state" }],
    ["what is no Base64", (it) => ({ ...it, binaryData: { record: "!!!" } }), { code: "state_unavailable" }],
    [
      "another object",
      (it) => ({ ...it, metadata: { ...it.metadata, name: "coordinator-latest" } }),
      { code: "state_unavailable" },
    ],
    ["a Secret", (it) => ({ ...it, kind: "Secret" }), { code: "state_unavailable" }],
    [
      "an object of another deployment",
      (it) => ({
        ...it,
        metadata: { ...it.metadata, labels: { ...it.metadata.labels, "contrast.edgeless.systems/state": "other" } },
      }),
      {
        code: "damaged_state",
        got: '"other"',
        want: "coordinator",
        hint: expect.stringContaining("CONTRAST_STATE_NAME") as string,
      },
    ],
    [
      "an object that is nobody's",
      (it) => ({ ...it, metadata: { ...it.metadata, labels: {} } }),
      { code: "damaged_state", got: "none" },
    ],
    ["a number of parts that is none", (it) => parts(it, "0"), { code: "damaged_state", got: '"0"', want: "1 to 64" }],
    ["a number of parts beyond all", (it) => parts(it, "99"), { code: "damaged_state", want: "1 to 64" }],
    [
      "parts that are not there",
      (it) => parts(it, "2"),
      { code: "damaged_state", where: `policies/${digest}, part 1` },
    ],
  ])("%s in the place of a record is refused", async (_name, change, refusal) => {
    liar.tell(changed(RECORD, change));
    await expect(store.get("policies", digest)).rejects.toMatchObject(refusal);
  });

  test("parts of a record that are changed, and in another order, are refused", async () => {
    const large = randomBytes(3 * 1024 * 1024);
    const name = `coordinator-policies-${await store.put("policies", large)}`;
    const first = await api.admin("GET", `/api/v1/namespaces/${account.namespace}/configmaps/${name}.2`);
    for (const lie of [
      changed(`${name}.1`, (it) => ({ ...it, binaryData: (first.body as ConfigMap).binaryData })),
      changed(`${name}.3`, (it) => ({ ...it, binaryData: { record: "" } })),
      changed(name, (it) => parts(it, "3")),
    ]) {
      liar.tell(lie);
      await expect(store.get("policies", sha256Hex(large))).rejects.toMatchObject({
        code: "damaged_state",
        where: `policies/${sha256Hex(large)}`,
      });
    }
  });

  test("a record that is damaged where it lies is whole again when the same bytes are put again", async () => {
    const path = `/api/v1/namespaces/${account.namespace}/configmaps`;
    const { body } = await api.admin("GET", `${path}/${RECORD}`);
    const { metadata } = body as ConfigMap;
    await api.admin("DELETE", `${path}/${RECORD}`);
    const damage = {
      metadata: { name: RECORD, labels: metadata.labels },
      immutable: true,
      binaryData: { record: swapped },
    };
    expect((await api.admin("POST", path, damage)).status).toBe(201);
    await expect(store.get("policies", digest)).rejects.toMatchObject({ code: "damaged_state" });
    await store.put("policies", policy);
    expect(await store.get("policies", digest)).toEqual(policy);
  });

  test("an older pointer is shown as it is, moves nothing, and is told of by the watch", async () => {
    const old = encodeRecord("latest", pointer).toString("base64");
    await store.compareAndSwapLatest(pointer, other);
    let told = 0;
    const stop = store.watch(() => void told++);
    liar.tell(changed("coordinator-latest", (it) => ({ ...it, binaryData: { record: old } })));
    await expect(store.compareAndSwapLatest(other, Buffer.from("a third"))).rejects.toMatchObject({ code: "conflict" });
    // By the pointer that it is shown, with the true resourceVersion: what is there is overwritten by nobody who has seen it.
    expect(await store.latest()).toEqual(pointer);
    expect(await honest.latest()).toEqual(other);
    stop();
    expect(told).toBeLessThanOrEqual(1);
  });

  test.each<[string, string]>([
    ["of another deployment", JSON.stringify({ labels: { "contrast.edgeless.systems/state": "other" } })],
    ["without its labels", JSON.stringify({ labels: {} })],
  ])("a pointer %s is refused by its label", async (_name, metadata) => {
    const change = JSON.parse(metadata) as object;
    liar.tell(changed("coordinator-latest", (it) => ({ ...it, metadata: { ...it.metadata, ...change } })));
    for (const use of [
      () => store.latest(),
      () => store.compareAndSwapLatest(pointer, other),
      () => open(LIAR).then((each) => each.latest()),
    ]) {
      await expect(use()).rejects.toMatchObject({
        code: "damaged_state",
        where: expect.stringContaining("configmaps/coordinator-latest, label") as string,
        hint: expect.stringContaining("CONTRAST_STATE_NAME") as string,
      });
    }
    expect(await honest.latest()).toEqual(pointer);
  });

  test("a move that was made, and is said to have failed, is found to have been made", async () => {
    for (const [round, status] of [500, 504, 409, 200].entries()) {
      liar.tell(async ({ method }, answer, truth) => {
        const { status: real, headers, body } = await truth();
        if (method !== "PUT") return void answer.writeHead(real, headers).end(body);
        answer.writeHead(status).end(status === 200 ? "no answer" : "{}");
      });
      const [from, to] = round % 2 === 0 ? [pointer, other] : [other, pointer];
      await store.compareAndSwapLatest(from, to);
      expect(await honest.latest()).toEqual(to);
    }
  });

  test("a move that was held back and let go later comes too late, when the store has said that it was not made", async () => {
    let letGo: () => Promise<unknown> = async () => undefined;
    liar.tell(async ({ method }, answer, truth) => {
      if (method === "PUT") {
        letGo = truth;
        answer.writeHead(504).end("{}");
        return;
      }
      const { status, headers, body } = await truth();
      answer.writeHead(status, headers).end(body);
    });
    await expect(store.compareAndSwapLatest(pointer, other)).rejects.toMatchObject({
      code: "state_unavailable",
      got: "504",
    });
    expect(await letGo()).toMatchObject({ status: 409 });
    expect(await honest.latest()).toEqual(pointer);
    liar.tell(undefined);
    await store.compareAndSwapLatest(pointer, other);
  });

  test("a list without an end ends", async () => {
    liar.tell((_, answer) => void answer.end('{"metadata": {"continue": "again"}, "items": []}'));
    await expect(store.list("policies")).rejects.toMatchObject({
      code: "state_unavailable",
      got: "more than 400 pages",
    });
    liar.tell((_, answer) => void answer.writeHead(410).end("{}"));
    await expect(store.list("policies")).rejects.toMatchObject({ code: "state_unavailable" });
  });

  test("watches that end at once, are all errors, or say nothing that is true, hide no move and cost few requests", async () => {
    const lies: ((answer: ServerResponse) => void)[] = [
      (answer) => void answer.end(),
      (answer) => void answer.end('{"type":"ERROR","object":{"code":410}}\n'),
      (answer) => void answer.end('{"type":"ERROR","object":{"code":500}}\n'),
      (answer) => void answer.end("no JSON\n"),
      (answer) => void answer.end("null\n7\n"),
      (answer) => void answer.writeHead(410).end("{}"),
      (answer) => void answer.writeHead(403).end("{}"),
      (answer) => void answer.write("x".repeat(5 * 1024 * 1024)),
    ];
    let before = pointer;
    for (const lie of lies) {
      liar.tell(async ({ path }, answer, truth) => {
        if (path.includes("watch=1")) return lie(answer);
        const { status, headers, body } = await truth();
        answer.writeHead(status, headers).end(body);
      });
      expect(await store.latest()).toEqual(before);
      let told = 0;
      const stop = store.watch(() => void told++);
      await expect.poll(() => liar.asked.some(({ path }) => path.includes("watch=1"))).toBe(true);
      const next = randomBytes(8);
      await honest.compareAndSwapLatest(before, next);
      before = next;
      await expect.poll(() => told, { timeout: 15_000 }).toBe(1);
      stop();
      expect(liar.asked.length).toBeLessThan(60);
    }
  });

  test("another server with a certificate of another CA, or for another name, is not asked for anything", async () => {
    const stranger = join(folder, "stranger");
    mkdirSync(stranger, { recursive: true });
    writeFileSync(join(stranger, "token"), "a-secret-token");
    writeFileSync(join(stranger, "ca.crt"), otherCa());
    liar.tell(undefined);
    await expect(open(LIAR, stranger)).rejects.toMatchObject({ code: "state_unavailable" });
    expect(liar.asked).toEqual([]);
  });

  test("a pod without a service account is told so", async () => {
    const error: unknown = await open(LIAR, join(folder, "nowhere")).catch((error: unknown) => error);
    expect(error).toMatchObject({
      code: "state_forbidden",
      got: expect.stringContaining("service account can't be read") as string,
    });
  });

  test.each([
    ["get", () => store.latest()],
    ["list", () => store.list("policies")],
    ["create", () => store.put("policies", Buffer.from("new"))],
    ["patch", () => store.put("policies", policy)],
    ["update", () => store.compareAndSwapLatest(pointer, other)],
    ["delete", () => store.remove("policies", digest)],
  ])("without the right to %s, the refusal names it, and what to apply", async (verb, use) => {
    await applyRights(api, account.namespace, verb);
    const refusal = {
      code: "state_forbidden",
      where: expect.stringMatching(new RegExp(`^${verb} configmaps`)) as string,
      got: expect.stringMatching(/^403 "configmaps /) as string,
      want: `the right to ${verb} configmaps in its namespace`,
      hint: expect.stringContaining("kubectl apply -f coordinator.yml") as string,
    };
    // The API server learns of changed rights a moment later.
    await expect
      .poll(() =>
        use().then(
          () => "done",
          (error: unknown) => error,
        ),
      )
      .toMatchObject(refusal);
    await applyRights(api, account.namespace);
    await expect.poll(() => store.latest().catch(() => undefined)).toBeDefined();
    if (verb === "delete") await store.put("policies", policy);
  });

  test("a quota of the namespace is no right that is missing", async () => {
    liar.tell(async ({ method }, answer, truth) => {
      if (method === "POST")
        return answerOf('{"message": "configmaps is forbidden: exceeded quota: compute"}', 403)(
          {} as never,
          answer,
          truth,
        );
      const { status, headers, body } = await truth();
      answer.writeHead(status, headers).end(body);
    });
    await expect(store.put("policies", Buffer.from("new"))).rejects.toMatchObject({
      code: "state_not_written",
      hint: expect.stringContaining("quota") as string,
    });
  });

  test("two deployments with one name in one namespace: the second sets nothing, and nothing of the first is lost", async () => {
    account = await makeAccount(api, `test-${++namespaces}`);
    const sharing = { monotonic: () => performance.now(), hold: false };
    const options = { allowInsecure: true, now, random: randomBytes, sharing };
    const both = [await open(HONEST), await open(LIAR)];
    const [first, second] = await Promise.all(both.map((store) => StateGuard.load({ ...options, store })));
    await first?.set(setRequest());
    await expect(second?.set(setRequest({ names: ["other"] }))).rejects.toMatchObject({ code: "conflict" });
    expect((await first?.history())?.steps).toHaveLength(1);
    const third = await StateGuard.load({ ...options, store: await open(HONEST) });
    await expect(third.set(setRequest())).rejects.toMatchObject({ code: "needs_recovery" });
    honest = await open(HONEST);
    await honest.put("policies", policy);
  });

  function otherCa(): string {
    const [key, cert] = ["key", "crt"].map((kind) => join(folder, `other.${kind}`));
    const request = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-subj",
      "/CN=other",
    ];
    execFileSync("openssl", [...request, "-keyout", key ?? "", "-out", cert ?? ""], { stdio: "pipe" });
    return readFileSync(cert ?? "", "utf8");
  }
});

function parts(object: ConfigMap, count: string): ConfigMap {
  return { ...object, metadata: { ...object.metadata, annotations: { "contrast.edgeless.systems/parts": count } } };
}

function half(_: unknown, answer: ServerResponse): void {
  answer.writeHead(200, { "content-length": 1000 });
  answer.write('{"kind": "ConfigMap", ');
  setTimeout(() => answer.destroy(), 50);
}

function endless(_: unknown, answer: ServerResponse): void {
  answer.writeHead(200);
  const chunk = Buffer.alloc(65_536, "x");
  const write = (): void => {
    while (!answer.destroyed && answer.write(chunk));
    if (!answer.destroyed) answer.once("drain", write);
  };
  write();
}

function dripping(_: unknown, answer: ServerResponse): void {
  answer.writeHead(200);
  const timer = setInterval(() => answer.write(" "), 200);
  answer.on("close", () => clearInterval(timer));
}
