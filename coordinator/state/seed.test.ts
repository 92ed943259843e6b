import { inspect } from "node:util";
import { expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import { SeedEngine } from "./seed.ts";

/** What a seed gives must never change: deployments depend on it for years. */
test("a seed gives the same keys and secrets for ever", () => {
  const engine = new SeedEngine(new Secret(Buffer.alloc(32, 0x11)), Buffer.alloc(32, 0x22));
  expect(toHex(spkiDigest(engine.rootKey.publicKey))).toMatchInlineSnapshot(
    `"b73ce16476b23b728da8f36e5b78f92e5a67552ece84c481570fb87804d4c8b4"`,
  );
  expect(toHex(spkiDigest(engine.historyKey.publicKey))).toMatchInlineSnapshot(
    `"0994cac67d191d8a2e85f35314652e4eb0c33a53c8c49316dab67965840d1da5"`,
  );
  expect(engine.workloadSecret("apps/v1/Deployment/default/web").reveal().toString("hex")).toMatchInlineSnapshot(
    `"082d88ed78968cbd6c2287c6aba3ea4f3da343631dfc3e7c028b68cfc6259d20"`,
  );
});

test("another seed, another salt and another id give other secrets", () => {
  const secret = (seed: number, salt: number, id: string): string =>
    new SeedEngine(new Secret(Buffer.alloc(32, seed)), Buffer.alloc(32, salt))
      .workloadSecret(id)
      .reveal()
      .toString("hex");
  expect(new Set([secret(1, 1, "a"), secret(2, 1, "a"), secret(1, 2, "a"), secret(1, 1, "b")])).toHaveLength(4);
});

test("an engine shows its seed to no printer", () => {
  const seed = Buffer.alloc(32, 0x41);
  const engine = new SeedEngine(new Secret(seed), Buffer.alloc(32));
  const secret = engine.workloadSecret("web");
  for (const text of [JSON.stringify({ engine, secret }), secret.toString(), inspect({ engine, secret })]) {
    expect(text).not.toContain(seed.toString("hex"));
    expect(text).not.toContain("AAAA");
  }
});
