import { expect, test } from "vitest";
import { MOST_BODY, MOST_PLAINTEXT, parseInput } from "./request-body.ts";
import { encrypt } from "./transit-key.ts";
import { Secret } from "../../runtime/secret.ts";

const source = { seed: new Secret(Buffer.alloc(32)), salt: Buffer.alloc(32) };
const seal = (text: Buffer): string =>
  encrypt(source, { id: "x".repeat(500), version: 4294967295 }, text, Buffer.alloc(12));

const read = (kind: "encrypt" | "decrypt", body: unknown) =>
  parseInput(kind, Buffer.from(typeof body === "string" ? body : JSON.stringify(body)));

test("what Vault's clients send is read", () => {
  expect(read("encrypt", { plaintext: "aGVsbG8=" })).toEqual({ plaintext: Buffer.from("hello"), keyVersion: 0 });
  expect(read("encrypt", { plaintext: "", key_version: 3 })).toEqual({ plaintext: Buffer.alloc(0), keyVersion: 3 });
  expect(read("decrypt", { ciphertext: seal(Buffer.from("x")) })).toMatchObject({
    ciphertext: { version: 4294967295 },
  });
});

test("the longest plaintext fits, both ways, and a longer one does not", () => {
  const longest = Buffer.alloc(MOST_PLAINTEXT, 0xff);
  const plain = JSON.stringify({ plaintext: longest.toString("base64") });
  expect(plain.length).toBeLessThan(MOST_BODY);
  expect(read("encrypt", plain)).toMatchObject({ plaintext: longest });
  const sealed = JSON.stringify({ ciphertext: seal(longest) });
  expect(sealed.length).toBeLessThan(MOST_BODY);
  expect(read("decrypt", sealed)).toHaveProperty("ciphertext");
  const longer = { plaintext: Buffer.alloc(MOST_PLAINTEXT + 1).toString("base64") };
  expect(() => read("encrypt", longer)).toThrow(expect.objectContaining({ code: "request_too_large" }));
});

test.for([
  ["encrypt", "", "missing plaintext"],
  ["encrypt", "{}", "missing plaintext"],
  ["encrypt", "null", "no object"],
  ["encrypt", "[]", "no object"],
  ["encrypt", '"x"', "no object"],
  ["encrypt", "5", "no object"],
  ["encrypt", "not json", "failed to decode JSON"],
  ["encrypt", '{"plaintext":', "failed to decode JSON"],
  ["encrypt", '{"plaintext":"aGVsbG8="} x', "failed to decode JSON"],
  ["encrypt", "[".repeat(90_000), "failed to decode JSON"],
  ["encrypt", `${'{"a":'.repeat(15_000)}1${"}".repeat(15_000)}`, "unsupported parameter"],
  ["encrypt", "\u0000", "failed to decode JSON"],
  ["encrypt", { plaintext: null }, "missing plaintext"],
  ["encrypt", { plaintext: 5 }, "converting input"],
  ["encrypt", { plaintext: {} }, "converting input"],
  ["encrypt", { plaintext: ["aGVsbG8="] }, "converting input"],
  ["encrypt", { plaintext: true }, "converting input"],
  ["encrypt", { plaintext: "!!!" }, "illegal base64"],
  ["encrypt", { plaintext: "aGVsbG8" }, "illegal base64"],
  ["encrypt", { plaintext: "aGVs\nbG8=" }, "illegal base64"],
  ["encrypt", { plaintext: "aGVsbG8=", key_version: "1" }, "key_version"],
  ["encrypt", { plaintext: "aGVsbG8=", key_version: -1 }, "key_version"],
  ["encrypt", { plaintext: "aGVsbG8=", key_version: 1.5 }, "key_version"],
  ["encrypt", { plaintext: "aGVsbG8=", key_version: null }, "key_version"],
  ["encrypt", { plaintext: "aGVsbG8=", associated_data: "eA==" }, "unsupported parameter"],
  ["encrypt", { plaintext: "aGVsbG8=", context: "eA==" }, "unsupported parameter"],
  ["encrypt", { plaintext: "aGVsbG8=", nonce: "AAAAAAAAAAAAAAAA" }, "unsupported parameter"],
  ["encrypt", { batch_input: [{ plaintext: "aGVsbG8=" }] }, "unsupported parameter"],
  ["encrypt", { plaintext: "aGVsbG8=", type: "chacha20-poly1305" }, "unsupported parameter"],
  ["encrypt", '{"__proto__":{"plaintext":"aGVsbG8="}}', "unsupported parameter"],
  ["encrypt", { ciphertext: "vault:v1:" }, "unsupported parameter"],
  ["decrypt", "{}", "missing ciphertext"],
  ["decrypt", { ciphertext: "" }, "missing ciphertext"],
  ["decrypt", { ciphertext: 1 }, "converting input"],
  ["decrypt", { ciphertext: "hello" }, "no prefix"],
  ["decrypt", { plaintext: "aGVsbG8=" }, "unsupported parameter"],
  ["decrypt", { ciphertext: "vault:v1:AAAA", key_version: 1 }, "unsupported parameter"],
] as const)("%s of %j is refused", ([kind, body, message]) => {
  expect(() => read(kind, body)).toThrow(message);
  expect(() => read(kind, body)).toThrow(expect.objectContaining({ code: "malformed_request" }));
});
