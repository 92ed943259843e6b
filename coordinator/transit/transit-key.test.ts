import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { decrypt, encrypt, fromBase64, type KeySource, parseCiphertext } from "./transit-key.ts";

interface Vector {
  readonly seed: string;
  readonly salt: string;
  readonly id: string;
  readonly version: number;
  readonly nonce: string;
  readonly plaintext: string;
  readonly ciphertext: string;
}

/** Made by Go's crypto/hkdf and crypto/cipher. */
const vectors = JSON.parse(readFileSync(new URL("transit-key.vectors.json", import.meta.url), "utf8")) as Vector[];
const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
const sourceOf = ({ seed, salt }: Pick<Vector, "seed" | "salt">): KeySource => {
  return { seed: new Secret(bytes(seed)), salt: bytes(salt) };
};
const source = (): KeySource => ({ seed: new Secret(randomBytes(32)), salt: randomBytes(32) });

test.for(vectors)("another implementation has the same key and ciphertext: $id v$version", (vector) => {
  const { id, version, plaintext, nonce, ciphertext } = vector;
  expect(encrypt(sourceOf(vector), { id, version }, bytes(plaintext), bytes(nonce))).toBe(ciphertext);
  const parsed = parseCiphertext(ciphertext);
  expect(parsed.version).toBe(version);
  expect(decrypt([sourceOf(vector)], { id, version }, parsed.sealed).toString("hex")).toBe(plaintext);
});

test("whatever is encrypted is decrypted, under its own id and version alone", () => {
  const mine = source();
  const id = fc.string({ minLength: 1, maxLength: 80, unit: "grapheme" });
  const version = fc.integer({ min: 1, max: 0xffff_ffff });
  fc.assert(
    fc.property(id, version, id, version, fc.uint8Array({ maxLength: 300 }), (one, first, other, second, text) => {
      const { sealed } = parseCiphertext(encrypt(mine, { id: one, version: first }, text, randomBytes(12)));
      expect(decrypt([mine], { id: one, version: first }, sealed)).toEqual(Buffer.from(text));
      if (one === other && first === second) return;
      expect(() => decrypt([mine], { id: other, version: second }, sealed)).toThrow("authentication failed");
    }),
  );
});

/** The length is there so that no id and version read as another id and version. */
test("ids that continue each other have keys of their own", () => {
  const mine = source();
  const nonce = Buffer.alloc(12);
  const names = [
    { id: "a", version: 0x62000000 },
    { id: "ab", version: 1 },
    { id: "a\0", version: 1 },
    { id: "a", version: 1 },
  ];
  const all = names.map((name) => encrypt(mine, name, Buffer.alloc(16), nonce).replace(/^vault:v\d+:/, ""));
  expect(new Set(all).size).toBe(names.length);
});

test("a ciphertext of another seed, another salt, or with one bit changed is not authentic", () => {
  const mine = source();
  const name = { id: "web", version: 1 };
  const { sealed } = parseCiphertext(encrypt(mine, name, Buffer.from("secret"), randomBytes(12)));
  for (const other of [source(), { ...mine, salt: randomBytes(32) }, { ...mine, seed: new Secret(randomBytes(32)) }]) {
    expect(() => decrypt([other], name, sealed)).toThrow(expect.objectContaining({ code: "ciphertext_not_authentic" }));
  }
  for (let bit = 0; bit < 8 * sealed.length; bit++) {
    const changed = Buffer.from(sealed);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => decrypt([mine], name, changed), `bit ${bit}`).toThrow("authentication failed");
  }
  expect(() => decrypt([], name, sealed)).toThrow("authentication failed");
  // The one in force, or one of before.
  expect(decrypt([source(), mine], name, sealed).toString()).toBe("secret");
});

test("every ciphertext has a nonce of its own, and that is the caller's to bring", () => {
  expect(() => encrypt(source(), { id: "web", version: 1 }, Buffer.alloc(1), Buffer.alloc(11))).toThrow(RangeError);
});

const short = Buffer.alloc(27).toString("base64");
const long = Buffer.alloc(28).toString("base64");

test.for([
  ["", "no prefix"],
  ["hello", "no prefix"],
  ["vault:", "no prefix"],
  ["vault:v1", "no prefix"],
  [`vault:1:${long}`, "no prefix"],
  [`VAULT:v1:${long}`, "no prefix"],
  [` vault:v1:${long}`, "no prefix"],
  [`vault:v-1:${long}`, "no prefix"],
  [`vault:v:${long}`, "no prefix"],
  [`vault:v0:${long}`, "version number"],
  [`vault:v01:${long}`, "version number"],
  [`vault:v99999999999:${long}`, "version number"],
  [`vault:v4294967296:${long}`, "too new"],
  ["vault:v1:!!!!", "base64"],
  [`vault:v1:${long}\n`, "base64"],
  [`vault:v1:${long.replace(/=*$/, "")}`, "base64"],
  [`vault:v1:${long.replace("A", "-")}`, "base64"],
  [`vault:v1:${long.slice(0, -3)}B==`, "base64"],
  ["vault:v1:", "length"],
  [`vault:v1:${short}`, "length"],
])("%j is no ciphertext", ([text = "", message]) => {
  expect(() => parseCiphertext(text)).toThrow(message);
});

test("base64 has one form", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (raw) => fromBase64(Buffer.from(raw).toString("base64"))?.equals(raw) === true),
  );
  for (const text of ["aGVsbG8", "aGVsbG8=\n", "aGVsbG9=", "aGVs bG8=", "_w==", "=", "aGVsbG8==", "\u0000"]) {
    expect(fromBase64(text), text).toBeUndefined();
  }
});
