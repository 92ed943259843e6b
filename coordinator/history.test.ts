import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Secret } from "../runtime/secret.ts";
import { FileStore } from "./file-store.ts";
import { advance, readLatestInsecure, readSeedShares, readTransitions, verifyLatest } from "./history.ts";
import { SeedEngine } from "./seed.ts";

const { historyKey } = new SeedEngine(new Secret(Buffer.alloc(32, 0x11)), Buffer.alloc(32, 0x22));
const other = new SeedEngine(new Secret(Buffer.alloc(32, 0x12)), Buffer.alloc(32, 0x22)).historyKey;
const FIRST = { manifest: "aa".repeat(32), seedShares: "bb".repeat(32) };

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

/** What the first version wrote has to be read for ever. */
const RECORD = `01${"aa".repeat(32)}${"00".repeat(32)}${"bb".repeat(32)}`;
const LATEST =
  "016237fedbe9ee22acf2933ff59ace93879beddf170bf504f178abf9086388bbcd873ad3017f4e0d126065198b3afc2ae88ab8767e42b5344423b9e5abe43c3d3f6d568501b0ceb6450b7090fa77ccb5d6cd950bb2fe714cb38dc8f09e113a2212818d16db0a20f6dc8270b034749923d067d878765575c0b8a1527b02dac5ed74";

test("transitions and the pointer are encoded as they always were", async () => {
  const latest = await advance(store, undefined, FIRST, historyKey.privateKey);
  expect((await store.get("transitions", latest.transition)).toString("hex")).toBe(RECORD);
  // ECDSA is random: what stands before the signature is the same, and the signature is verified.
  expect(latest.raw.toString("hex").slice(0, 66)).toBe(LATEST.slice(0, 66));
  expect(latest.raw).toHaveLength(LATEST.length / 2);
  verifyLatest(latest, historyKey.publicKey);
});

test("what the first version wrote is read and verified", async () => {
  await store.put("transitions", Buffer.from(RECORD, "hex"));
  await store.compareAndSwapLatest(undefined, Buffer.from(LATEST, "hex"));
  const latest = await readLatestInsecure(store);
  if (latest === undefined) throw new Error("no pointer");
  verifyLatest(latest, historyKey.publicKey);
  expect(await readTransitions(store, latest.transition)).toEqual([
    { ...FIRST, digest: latest.transition, previous: undefined },
  ]);
});

test("a pointer with any bit changed, and another seed's pointer, are refused", async () => {
  for (let bit = 8; bit < (LATEST.length / 2) * 8; bit++) {
    const raw = Buffer.from(LATEST, "hex");
    raw.writeUInt8(raw.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    const latest = { raw, transition: raw.subarray(1, 33).toString("hex"), signature: raw.subarray(33) };
    expect(() => verifyLatest(latest, historyKey.publicKey)).toThrow(expect.objectContaining({ code: "wrong_seed" }));
  }
  const latest = await advance(store, undefined, FIRST, other.privateKey);
  expect(() => verifyLatest(latest, historyKey.publicKey)).toThrow(expect.objectContaining({ code: "wrong_seed" }));
});

test("a history whose transitions name different seed shares is damaged", async () => {
  const first = await advance(store, undefined, FIRST, historyKey.privateKey);
  const second = await advance(store, first, { ...FIRST, seedShares: "cc".repeat(32) }, historyKey.privateKey);
  await expect(readTransitions(store, second.transition)).rejects.toMatchObject({
    code: "damaged_state",
    where: `transitions/${first.transition}, seed shares`,
    got: FIRST.seedShares,
    want: "cc".repeat(32),
  });
});

test.each([
  ["of another version", `02${RECORD.slice(2)}`],
  ["without seed shares", RECORD.slice(0, 130)],
  ["with more behind it", `${RECORD}00`],
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
