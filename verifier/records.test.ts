import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { fromUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { readDocuments } from "./records.ts";

test("documents stand in the order that they were asked for, in whichever they came, and each is read once", async () => {
  const documents = new Map(["one", "two", "three", "four"].map((text) => [sha256Hex(fromUtf8(text)), fromUtf8(text)]));
  const digests = [...documents.keys()];
  const asked: string[] = [];
  const found = await readDocuments("policies", [...digests, ...digests], async (_, digest) => {
    asked.push(digest);
    await delay(5 * digests.indexOf(digest));
    return documents.get(digest) ?? new Uint8Array();
  });
  expect([...found]).toEqual([...documents]);
  expect(asked.toSorted()).toEqual(digests.toSorted());
});
