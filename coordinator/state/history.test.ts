import { sign } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { Secret } from "../../runtime/secret.ts";
import { FileStore } from "../../store/file-store.ts";
import {
  advance,
  movePointer,
  readLatestInsecure,
  readPointerInsecure,
  readSeedShares,
  readTransitions,
} from "./history.ts";
import { parseLatestInsecure, verifyLatest } from "./pointer.ts";
import { SeedEngine } from "./seed.ts";

const { historyKey } = new SeedEngine(new Secret(Buffer.alloc(32, 0x11)), Buffer.alloc(32, 0x22));
const NEXT = { meshKey: "ee".repeat(32), historyKey: historyKey.privateKey };
const FIRST = {
  manifest: "aa".repeat(32),
  seedShares: "bb".repeat(32),
  rootKey: "cc".repeat(32),
  meshKey: undefined,
  signatures: [],
};

let directory: string;
let store: FileStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "history-test-"));
  store = await FileStore.open(directory, { pid: process.pid, host: "test", since: new Date() });
});

afterEach(async () => {
  store.close();
  await rm(directory, { recursive: true });
});

/** What was written has to be read for ever. */
const RECORD = `02${"aa".repeat(32)}${"00".repeat(32)}${"bb".repeat(32)}${"cc".repeat(32)}${"00".repeat(32)}00`;
const LATEST =
  "01b4b74a7d0c06fbcb84b8b6f63036efcc613e3a184fb1eb1d4510367df7acbf58d46f2ed4fffc7ccb8b92ddfafb4906a3d07ab354c908429f35fba26c52a4f1ac43f4c8d0cf88baabbf452f0fa190730f32e1c52bf7a7b135d421e4d8d7502757401bf67e9047d93df7bf3df92bbdbb8be9c87ca5833dd47b2bb00f94ce7cad5e";

test("transitions are encoded as they always were", async () => {
  const { latest, record } = await advance(store, undefined, FIRST, NEXT);
  expect((await store.get("transitions", latest.transition)).toString("hex")).toBe(RECORD);
  expect(toHex(record)).toBe(RECORD);
  verifyLatest(latest, historyKey.publicKey);
});

test("what was written is read and verified", async () => {
  await store.put("transitions", Buffer.from(RECORD, "hex"));
  await store.compareAndSwapLatest(undefined, Buffer.from(LATEST, "hex"));
  const latest = await readLatestInsecure(store);
  if (latest === undefined) throw new Error("no pointer");
  verifyLatest(latest, historyKey.publicKey);
  const record = Buffer.from(RECORD, "hex");
  expect(await readTransitions(store, latest.transition)).toEqual([
    { ...FIRST, version: 2, record, digest: latest.transition, previous: undefined },
  ]);
});

/** Version 1 had no owners' signatures and no root CA key. */
test.each([
  ["0", `00${RECORD.slice(2)}`],
  ["1", `01${"aa".repeat(32)}${"00".repeat(32)}${"bb".repeat(32)}`],
  ["5", `05${RECORD.slice(2)}`],
])("a transition of version %s is refused by its name and its version", async (version, record) => {
  const digest = await store.put("transitions", Buffer.from(record, "hex"));
  await expect(readTransitions(store, digest)).rejects.toMatchObject({
    code: "unknown_state_version",
    where: `transitions/${digest}`,
    got: `version ${version}`,
    want: "version 2 to 4",
  });
});

test("a transition of version 1 below one of version 2 is refused, too", async () => {
  const old = await store.put("transitions", Buffer.from(`01${"aa".repeat(64)}${"bb".repeat(32)}`, "hex"));
  const signed = Buffer.concat([Buffer.of(1), Buffer.from(old, "hex")]);
  const signature = sign("sha384", signed, { key: historyKey.privateKey, dsaEncoding: "ieee-p1363" });
  const raw = Buffer.concat([signed, signature]);
  await store.compareAndSwapLatest(undefined, raw);
  const before = verifyLatest(parseLatestInsecure(raw, "latest"), historyKey.publicKey);
  const signatures = [{ publicKey: Buffer.of(1), signature: Buffer.of(2) }];
  const step = { ...FIRST, meshKey: "dd".repeat(32), signatures };
  const { latest } = await advance(store, before, step, NEXT);
  await expect(readTransitions(store, latest.transition)).rejects.toMatchObject({
    code: "unknown_state_version",
    where: `transitions/${old}`,
  });
});

test("what could not be read again is not written, and the pointer stays", async () => {
  const { latest } = await advance(store, undefined, FIRST, NEXT);
  const step = { ...FIRST, meshKey: "dd".repeat(32) };
  const long = { publicKey: Buffer.of(1), signature: Buffer.alloc(257, 1) };
  for (const signatures of [[], [long]]) {
    await expect(advance(store, latest, { ...step, signatures }, NEXT)).rejects.toThrow("signature");
  }
  expect(await store.latest()).toEqual(latest.raw);
});

test("every pointer stays as a record, that of version 1, too, and names the one before it", async () => {
  await store.compareAndSwapLatest(undefined, Buffer.from(LATEST, "hex"));
  const before = await readLatestInsecure(store);
  const step = {
    ...FIRST,
    meshKey: "dd".repeat(32),
    signatures: [{ publicKey: Buffer.of(1), signature: Buffer.of(2) }],
  };
  const first = await advance(store, before && verifyLatest(before, historyKey.publicKey), step, NEXT);
  const target = { transition: first.latest.transition, meshKey: "ff".repeat(32) };
  const second = await movePointer(store, first.latest, target, historyKey.privateKey);
  expect(await store.latest()).toEqual(second.raw);
  expect([first.latest.sequence, second.sequence]).toEqual([1, 2]);
  const chain = [second.digest];
  for (
    let digest = second.previous;
    digest !== undefined;
    digest = (await readPointerInsecure(store, digest)).previous
  ) {
    chain.push(digest);
  }
  expect(chain).toEqual([second.digest, first.latest.digest, before?.digest]);
  expect((await store.list("pointers")).toSorted()).toEqual(chain.toSorted());
});

test("of two who move the same pointer, one gets a conflict", async () => {
  const { latest } = await advance(store, undefined, FIRST, NEXT);
  const target = { transition: latest.transition, meshKey: "ff".repeat(32) };
  const moves = await Promise.allSettled([1, 2].map(() => movePointer(store, latest, target, historyKey.privateKey)));
  expect(moves.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(moves.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "conflict" } });
});

test.each([
  ["without seed shares", RECORD.slice(0, 130)],
  ["with more behind it", `${RECORD}00`],
  ["that is the first and has a mesh CA key", `${RECORD.slice(0, -4)}0100`],
])("a transition %s is reported by its name", async (_name, record) => {
  const digest = await store.put("transitions", Buffer.from(record, "hex"));
  await expect(readTransitions(store, digest)).rejects.toMatchObject({
    code: "damaged_state",
    where: expect.stringContaining(`transitions/${digest}`) as string,
  });
});

test("malformed seed shares are reported by their name", async () => {
  const digest = await store.put("seedshares", Buffer.of(1, 0));
  await expect(readSeedShares(store, digest)).rejects.toMatchObject({
    code: "damaged_state",
    where: `seedshares/${digest}, salt`,
  });
});
