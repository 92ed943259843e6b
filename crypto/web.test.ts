import { constants, createECDH, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { testRsaKey } from "../attestation/test-keys.ts";
import { concat } from "../bytes/encode.ts";
import { hexBytes } from "../bytes/hex.ts";
import { encodeBitString, encodeDer, encodeOid, encodeSequence } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { spki } from "../pki/keys.ts";
import { encodeEcSpki } from "../pki/spki.ts";
import * as node from "./node.ts";
import type { Curve, Hash, KeyType, Primitives } from "./primitives.ts";
import { CURVE_BYTES } from "./shapes.ts";
import * as web from "./web.ts";

const HASHES: readonly Hash[] = ["sha256", "sha384", "sha512"];
const CURVES: readonly (readonly [Curve, string, order: string])[] = [
  ["P-256", "prime256v1", "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"],
  [
    "P-384",
    "secp384r1",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
  ],
  [
    "P-521",
    "secp521r1",
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
  ],
];
const DATA = Buffer.from("what is signed");

/** Asks both, and expects one answer of them. */
async function both<T>(ask: (primitives: Primitives) => T): Promise<T> {
  const answer = ask(node);
  expect(await web.settle(() => ask(web))).toEqual(answer);
  return answer;
}

test("digests of any parts", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...HASHES), fc.array(fc.uint8Array({ maxLength: 200 })), async (hash, parts) => {
      const whole = await both(({ digest }) => digest(hash, ...parts));
      expect(await both(({ digest }) => digest(hash, concat(...parts)))).toEqual(whole);
    }),
  );
});

describe.each(CURVES)("ECDSA on %s", (curve, name, order) => {
  const size = CURVE_BYTES[curve];
  const type: KeyType = { kind: "ecdsa", curve };
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: name });
  const key: Uint8Array = new Uint8Array(spki(publicKey));
  const point = key.subarray(-2 * size);
  const signed = (hash: Hash = "sha384", by: KeyObject = privateKey): Uint8Array =>
    new Uint8Array(sign(hash, DATA, { key: by, dsaEncoding: "ieee-p1363" }));
  const asks = (
    signature: Uint8Array,
    spkiOf = key,
    data: Uint8Array = DATA,
    hash: Hash = "sha384",
  ): Promise<boolean> => both(({ verifyEcdsa }) => verifyEcdsa(curve, hash, spkiOf, data, signature));

  test.each(HASHES)("a signature over %s is good, and over nothing else", async (hash) => {
    const signature = signed(hash);
    expect(await asks(signature, key, DATA, hash)).toBe(true);
    expect(await asks(signature, key, Buffer.from("another text"), hash)).toBe(false);
    for (const other of HASHES) expect(await asks(signature, key, DATA, other)).toBe(other === hash);
  });

  test("a changed signature is not good, whatever is changed", async () => {
    const signature = signed();
    const change = fc.record({ at: fc.nat(2 * size - 1), by: fc.integer({ min: 1, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, by }) => {
        expect(await asks(signature.with(at, (signature[at] ?? 0) ^ by))).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  test("numbers that no signature has are refused", async () => {
    const signature = signed();
    const [r, s] = [signature.subarray(0, size), signature.subarray(size)];
    const n = hexBytes(order.padStart(2 * size, "0"));
    const zero = new Uint8Array(size);
    const most = new Uint8Array(size).fill(0xff);
    const number = BigInt(`0x${order}`) - BigInt(`0x${Buffer.from(s).toString("hex")}`);
    const negated = hexBytes(number.toString(16).padStart(2 * size, "0"));
    for (const bad of [zero, n, most]) {
      for (const halves of [
        [bad, s],
        [r, bad],
        [bad, bad],
      ]) {
        expect(await asks(concat(...halves))).toBe(false);
      }
    }
    // The other signature that follows from one is good by the standard; nothing here counts signatures.
    expect(await asks(concat(r, negated))).toBe(true);
  });

  test("a signature of another length or form is refused", async () => {
    const signature = signed();
    const der = new Uint8Array(sign("sha384", DATA, privateKey));
    const zero = Uint8Array.of(0);
    const padded = concat(zero, signature.subarray(0, size), zero, signature.subarray(size));
    for (const bad of [new Uint8Array(), signature.subarray(1), signature.subarray(0, -1), der, padded]) {
      expect(await asks(bad)).toBe(false);
    }
  });

  test("what is no key of the curve is none, and signs nothing", async () => {
    const other = CURVES.find(([, another]) => another !== name);
    if (other === undefined) throw new Error("there are three curves");
    const ecdh = createECDH(name);
    ecdh.setPrivateKey(privateKey.export({ format: "jwk" }).d ?? "", "base64url");
    const off = new Uint8Array(key);
    off.set([(off.at(-1) ?? 0) ^ 1], off.length - 1);
    const p = new Uint8Array(2 * size).fill(0xff);
    const keys: Readonly<Record<string, Uint8Array>> = {
      nothing: new Uint8Array(),
      "a point off the curve": off,
      "coordinates beyond the field": encodeEcSpki({ curve, point: concat(Uint8Array.of(4), p) }),
      "the point at infinity": encodeEcSpki({ curve, point: Uint8Array.of(0) }),
      "zeros for the point at infinity": encodeEcSpki({ curve, point: new Uint8Array(1 + 2 * size) }),
      "zero as both coordinates": encodeEcSpki({ curve, point: concat(Uint8Array.of(4), new Uint8Array(2 * size)) }),
      "a compressed point": encodeEcSpki({ curve, point: ecdh.getPublicKey(null, "compressed") }),
      "a hybrid point": encodeEcSpki({ curve, point: ecdh.getPublicKey(null, "hybrid") }),
      "a point that is cut off": encodeEcSpki({ curve, point: concat(Uint8Array.of(4), point.subarray(1)) }),
      "bytes behind the key": concat(key, Uint8Array.of(0)),
      "a curve of one's own": spki(
        generateKeyPairSync("ec", { namedCurve: name, paramEncoding: "explicit" }).publicKey,
      ),
      "a key of another curve": spki(generateKeyPairSync("ec", { namedCurve: other[1] }).publicKey),
      "a key of Ed25519": spki(generateKeyPairSync("ed25519").publicKey),
    };
    for (const [what, bytes] of Object.entries(keys)) {
      expect(await both(({ isPublicKey }) => isPublicKey(type, bytes)), what).toBe(false);
      expect(await asks(signed(), bytes), what).toBe(false);
    }
    expect(await both(({ isPublicKey }) => isPublicKey(type, key))).toBe(true);
    expect(await both(({ isPublicKey }) => isPublicKey({ kind: "rsa" }, key))).toBe(false);
    expect(await both(({ isPublicKey }) => isPublicKey({ kind: "ecdsa", curve: other[0] }, key))).toBe(false);
    const stranger = generateKeyPairSync("ec", { namedCurve: name }).publicKey;
    expect(await asks(signed(), spki(stranger))).toBe(false);
  });

  test("any changed key gets one answer", async () => {
    const change = fc.record({ at: fc.nat(key.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, byte }) => {
        const changed = key.with(at, byte);
        await both(({ isPublicKey }) => isPublicKey(type, changed));
        await asks(signed(), changed);
      }),
      { numRuns: 60 },
    );
  });
});

describe("RSASSA-PSS", () => {
  const pss = (key: KeyObject, saltLength: number, hash: Hash = "sha384"): Uint8Array =>
    new Uint8Array(sign(hash, DATA, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }));
  const asks = (key: Uint8Array, signature: Uint8Array, saltLength = 48, hash: Hash = "sha384"): Promise<boolean> =>
    both(({ verifyPss }) => verifyPss(hash, saltLength, key, DATA, signature));

  test("a signature is good with its salt and its hash alone", async () => {
    const { privateKey, publicKey } = await testRsaKey(4096, "web");
    const key = spki(publicKey);
    expect(await both(({ isPublicKey }) => isPublicKey({ kind: "rsa" }, key))).toBe(true);
    for (const salt of [0, 20, 32, 48, 64]) {
      const signature = pss(privateKey, salt);
      for (const asked of [0, 20, 32, 48, 64]) expect(await asks(key, signature, asked)).toBe(asked === salt);
      for (const hash of HASHES) expect(await asks(key, signature, salt, hash)).toBe(hash === "sha384");
    }
  });

  test("a signature of PKCS #1 v1.5, one of another key, and changed ones are refused", async () => {
    const { privateKey, publicKey } = await testRsaKey(4096, "web");
    const key = spki(publicKey);
    const signature = pss(privateKey, 48);
    const other = await testRsaKey(2048, "web");
    expect(await asks(key, new Uint8Array(sign("sha384", DATA, privateKey)))).toBe(false);
    expect(await asks(key, pss(other.privateKey, 48))).toBe(false);
    expect(await asks(spki(other.publicKey), signature)).toBe(false);
    for (const bad of [
      new Uint8Array(),
      signature.subarray(1),
      concat(Uint8Array.of(0), signature),
      new Uint8Array(512),
      new Uint8Array(512).fill(0xff),
    ]) {
      expect(await asks(key, bad)).toBe(false);
    }
    for (let at = 0; at < 512; at += 37)
      expect(await asks(key, signature.with(at, (signature[at] ?? 0) ^ 1))).toBe(false);
  });

  test("a key of ECDSA, and bytes that are none, sign nothing", async () => {
    const ec = spki(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey);
    for (const bytes of [ec, new Uint8Array(), new Uint8Array(550), rsa(3n, 0n).subarray(1)]) {
      expect(await both(({ isPublicKey }) => isPublicKey({ kind: "rsa" }, bytes))).toBe(false);
      expect(await asks(bytes, new Uint8Array(512))).toBe(false);
    }
  });

  test("a tiny or odd key verifies nothing", async () => {
    const modulus = (1n << 2047n) + 12_345_679n;
    for (const key of [
      rsa(0n, 3n),
      rsa(1n, 3n),
      rsa(15n, 3n),
      rsa(modulus, 0n),
      rsa(modulus, 1n),
      rsa(modulus, 2n),
      rsa(modulus - 1n, 65_537n),
      rsa(modulus, (1n << 33n) + 1n),
    ]) {
      for (const signature of [new Uint8Array(), new Uint8Array(1), Uint8Array.of(1), new Uint8Array(256)]) {
        expect(await asks(key, signature)).toBe(false);
      }
    }
  });

  function rsa(modulus: bigint, exponent: bigint): Uint8Array {
    const number = (value: bigint): Uint8Array => {
      const digits = value.toString(16);
      // An even number of them, and a zero before them that says that it is not negative.
      return encodeDer(TAG.integer, hexBytes(`${digits.length % 2 === 0 ? "00" : "0"}${digits}`));
    };
    const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), encodeDer(TAG.null));
    return encodeSequence(algorithm, encodeBitString(encodeSequence(number(modulus), number(exponent))));
  }
});

describe("a decision", () => {
  const hashOf = (text: string): Uint8Array => web.digest("sha256", Buffer.from(text));

  test("asks one thing after the other, and what follows from the answers", async () => {
    const chain = (primitives: Primitives): Uint8Array => {
      let value: Uint8Array = Buffer.from("start");
      for (let step = 0; step < 50; step++) value = primitives.digest("sha256", value);
      return value;
    };
    await both(chain);
  });

  test("that catches everything decides the same as with answers at once", async () => {
    const question = fc.record({ text: fc.constantFrom("a", "b", "c", "d"), caught: fc.boolean() });
    const decide = (questions: readonly { text: string; caught: boolean }[]) => (primitives: Primitives) => {
      const heard: string[] = [];
      for (const { text, caught } of questions) {
        const ask = (): number | undefined => primitives.digest("sha256", Buffer.from(`${text} ${heard.join()}`))[0];
        if (!caught) {
          heard.push(`${ask()}`);
          continue;
        }
        try {
          // By what is heard another question follows, or an error.
          const first = ask() ?? 0;
          if (first % 3 === 0) throw new Error(`no ${first}`);
          heard.push(`${first}`);
        } catch (error) {
          heard.push(error instanceof Error && error.message.startsWith("no ") ? error.message : "interrupted");
        }
      }
      return heard;
    };
    await fc.assert(
      fc.asyncProperty(fc.array(question, { maxLength: 12 }), async (questions) => {
        expect(await both(decide(questions))).not.toContain("interrupted");
      }),
    );
  });

  test("that answers by an interruption alone is not believed", async () => {
    const decide = (primitives: Primitives): string => {
      try {
        return primitives.isPublicKey({ kind: "rsa" }, new Uint8Array(3)) ? "a key" : "no key";
      } catch {
        return "trusted";
      }
    };
    expect(await both(decide)).toBe("no key");
  });

  test("throws what it throws, and not before all is answered", async () => {
    const decide = (): never => {
      const [first = 0] = hashOf("a");
      throw new RangeError(`${first}`);
    };
    await expect(web.settle(decide)).rejects.toThrow(new RangeError("202"));
  });

  test("gets bytes of its own each time", async () => {
    const value = await web.settle(() => {
      hashOf("a").fill(0);
      return hashOf("a");
    });
    expect(value[0]).toBe(0xca);
  });

  test("is bound to the bytes at the time, and changed ones are another question", async () => {
    const bytes = new Uint8Array(4);
    const other = new Uint8Array(node.digest("sha256", new Uint8Array(4).fill(1)));
    const before = web.settle(() => web.digest("sha256", bytes));
    bytes.fill(1);
    // The decision runs again after the answer, and asks for what the bytes are then.
    expect(await before).toEqual(other);
  });

  test("keeps its answers from others that are taken at the same time", async () => {
    const texts = Array.from({ length: 20 }, (_, index) => `text ${index}`);
    const chain = (text: string) => (primitives: Primitives) => {
      let value: Uint8Array = Buffer.from(text);
      for (let step = 0; step < 5; step++) value = primitives.digest("sha512", value, Buffer.from(text));
      return value;
    };
    const values = await Promise.all(texts.map(async (text) => web.settle(() => chain(text)(web))));
    expect(values).toEqual(texts.map((text) => chain(text)(node)));
  });

  test("within another is one of its own", async () => {
    let inner: Promise<Uint8Array> | undefined;
    const outer = await web.settle(() => {
      inner ??= web.settle(() => hashOf("inner"));
      return hashOf("outer");
    });
    expect(await inner).toEqual(node.digest("sha256", Buffer.from("inner")));
    expect(outer).toEqual(node.digest("sha256", Buffer.from("outer")));
  });

  test("that never asks the same twice is given up", async () => {
    let count = 0;
    const endless = (): Uint8Array => hashOf(`${count++}`);
    await expect(web.settle(endless)).rejects.toThrow("more than 10000 questions");
    expect(count).toBe(10_001);
  });

  test("is where primitives answer, and nowhere else", () => {
    expect(() => hashOf("a")).toThrow("outside of settle()");
  });
});
