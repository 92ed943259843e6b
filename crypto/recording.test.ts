import { generateKeyPairSync, sign } from "node:crypto";
import { beforeEach, expect, test } from "vitest";
import * as asked from "../crypto/node.ts";
import { spki } from "../pki/keys.ts";
import * as node from "./node.ts";
import type { Primitives } from "./primitives.ts";
import { differences } from "./test-recording.ts";
import * as web from "./web.ts";

/** The kit that asks WebCrypto what tests asked would find nothing wrong if it asked nothing. */

const DATA = new Uint8Array(Buffer.from("data"));
const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const KEY = new Uint8Array(spki(publicKey));
const SIGNATURE = new Uint8Array(sign("sha256", DATA, { key: privateKey, dsaEncoding: "ieee-p1363" }));

beforeEach(async () => {
  await differences(node);
});

function askAll(): void {
  asked.digest("sha256", DATA);
  asked.isPublicKey({ kind: "ecdsa", curve: "P-256" }, KEY);
  asked.verifyEcdsa("P-256", "sha256", KEY, DATA, SIGNATURE);
  asked.verifyPss("sha384", 48, KEY, DATA, SIGNATURE);
}

test("what is imported as crypto/node.ts is recorded, each question once", async () => {
  askAll();
  askAll();
  expect(await differences(web)).toEqual({ asked: 4, wrong: [] });
  expect(await differences(web)).toEqual({ asked: 0, wrong: [] });
});

test.each<[string, Partial<Primitives>]>([
  ["digest sha256", { digest: () => new Uint8Array(32) }],
  ['key {"kind":"ecdsa","curve":"P-256"}', { isPublicKey: () => false }],
  ["ecdsa P-256 sha256", { verifyEcdsa: () => false }],
  ["pss sha384 48", { verifyPss: () => true }],
])("another answer is found: %s", async (what, lie) => {
  askAll();
  expect((await differences({ ...node, ...lie })).wrong).toEqual([what]);
});

test("inputs that are written to afterwards are asked about as they were", async () => {
  const data = new Uint8Array(4);
  asked.digest("sha256", data);
  data.fill(1);
  expect(await differences(web)).toEqual({ asked: 1, wrong: [] });
});
