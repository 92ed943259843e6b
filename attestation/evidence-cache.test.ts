import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { encodeInteger, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { EvidenceError } from "./error.ts";
import { flipped } from "./test-refusal.ts";
import { EvidenceCache } from "./evidence-cache.ts";
import type { SnpEvidence, TdxCollateral, TdxEvidence } from "./evidence.ts";
import { amdSigner, encodeName, encodeSigned } from "./simulated/certificates.ts";
import { simulatedRoots } from "./snp/roots.ts";
import * as snp from "./snp/test-vendor.ts";
import { type SnpVerifyOptions, verifySnp } from "./snp/verify.ts";
import * as tdx from "./tdx/test-vendor.ts";
import { type TdxVerifyOptions, verifyTdx } from "./tdx/verify.ts";

describe("the cache", () => {
  /** Parses bytes as verifications that succeed do, and says what came of it. */
  const parsing = (cache: EvidenceCache, parser: (bytes: Uint8Array) => object, bytes: Uint8Array): object =>
    cache.remembering((parse) => parse(parser, bytes));
  const first = (bytes: Uint8Array): object => ({ bytes });
  const second = (bytes: Uint8Array): object => ({ bytes });

  test("finds what the same parser made of the same bytes", () => {
    const cache = new EvidenceCache();
    const value = parsing(cache, first, Buffer.from("bytes"));
    expect(parsing(cache, first, Buffer.from("bytes"))).toBe(value);
    expect(parsing(cache, second, Buffer.from("bytes"))).not.toBe(value);
  });

  test("never finds it by other bytes", () => {
    const bytes = Buffer.alloc(5000, 7);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const cache = new EvidenceCache();
        const value = parsing(cache, first, bytes);
        const other = Buffer.from(bytes);
        other[at] = (other[at] ?? 0) ^ change;
        expect(parsing(cache, first, other)).not.toBe(value);
        expect(parsing(cache, first, bytes.subarray(0, at))).not.toBe(value);
      }),
    );
  });

  test("finds it by what the bytes were, whatever is written to the buffer since", () => {
    const cache = new EvidenceCache();
    const buffer = Buffer.from("bytes");
    const value = parsing(cache, first, buffer);
    buffer.write("other");
    expect(parsing(cache, first, buffer)).not.toBe(value);
    expect(parsing(cache, first, Buffer.from("bytes"))).toBe(value);
  });

  test("remembers what a verification in several steps has parsed when it says that it succeeded, and not before", () => {
    const cache = new EvidenceCache();
    const bytes = Buffer.from("bytes");
    const abandoned = cache.begin();
    const value = abandoned.parse(first, bytes);
    expect(abandoned.parse(first, bytes)).toBe(value);
    const reading = cache.begin();
    const other = reading.parse(first, bytes);
    expect(other).not.toBe(value);
    reading.keep();
    expect(cache.begin().parse(first, bytes)).toBe(other);
  });

  test("remembers nothing of a verification that fails", () => {
    const cache = new EvidenceCache();
    let value: object | undefined;
    const failing = (): void =>
      cache.remembering((parse) => {
        value = parse(first, Buffer.from("bytes"));
        throw new RangeError("refused");
      });
    expect(failing).toThrow(RangeError);
    expect(parsing(cache, first, Buffer.from("bytes"))).not.toBe(value);
  });

  test("forgets what was not used for long, and never holds more than its capacity", () => {
    const cache = new EvidenceCache(64 * 1024);
    const numbered = (number: number): Uint8Array => Buffer.alloc(1024, `${number},`);
    const [used, unused] = [parsing(cache, first, numbered(-1)), parsing(cache, first, numbered(-2))];
    for (let number = 0; number < 100; number++) {
      parsing(cache, first, numbered(number));
      expect(parsing(cache, first, numbered(-1))).toBe(used);
    }
    expect(parsing(cache, first, numbered(-2))).not.toBe(unused);
    const large = Buffer.alloc(40 * 1024);
    expect(parsing(cache, first, large)).not.toBe(parsing(cache, first, large));
  });
});

/** The refusal's code and place; undefined where there is none. */
function outcome(verify: () => unknown): string | undefined {
  try {
    verify();
    return undefined;
  } catch (error) {
    if (error instanceof EvidenceError) return `${error.code} at ${error.where}`;
    throw error;
  }
}

const LATER = new Date("2027-01-01T00:00:00Z");
const MUCH_LATER = new Date("2041-01-01T00:00:00Z");

describe("SNP evidence that was verified before", () => {
  let vendor: snp.TestVendor;
  let evidence: SnpEvidence;
  let cache: EvidenceCache;
  let options: SnpVerifyOptions;

  beforeAll(async () => {
    vendor = await snp.createTestVendor();
    evidence = snp.makeEvidence(vendor);
    cache = new EvidenceCache();
    options = { trustAnchors: simulatedRoots([vendor.rootDigest]), at: snp.NOW, crl: listOf(), cache };
    verifySnp(evidence, options);
  });

  function listOf(...serials: readonly number[]): Uint8Array {
    const signer = amdSigner(vendor.ark.privateKey);
    const [from, to] = [new Date("2026-05-01T00:00:00Z"), new Date("2026-07-01T00:00:00Z")];
    const entries = serials.map((serial) => encodeSequence(encodeInteger(serial), encodeTime(from)));
    const list = entries.length === 0 ? [] : [encodeSequence(...entries)];
    const times = [encodeTime(from), encodeTime(to)];
    return encodeSigned(signer, [encodeInteger(1), signer.algorithm, encodeName("ARK-Milan"), ...times, ...list]);
  }

  function verify(changes: Partial<SnpVerifyOptions>, other: Partial<SnpEvidence> = {}): () => unknown {
    return () => verifySnp({ ...evidence, ...other }, { ...options, ...changes });
  }

  test("is verified again, with another report too", () => {
    expect(outcome(verify({}))).toBeUndefined();
    const { report } = snp.makeEvidence(vendor, { report: { reportData: Buffer.alloc(64, 1) } });
    expect(outcome(verify({}, { report }))).toBeUndefined();
  });

  test("is refused once a certificate or the list has expired", () => {
    expect(outcome(verify({ at: MUCH_LATER }))).toBe("certificate_expired at ARK-Milan");
    expect(outcome(verify({ at: LATER }))).toBe("crl_expired at revocation list of ARK-Milan");
  });

  test("is refused once an issuer is revoked", () => {
    expect(outcome(verify({ crl: listOf(0x10001) }))).toBe("certificate_revoked at SEV-Milan");
  });

  test("is refused where its root is not trusted, or only for another product", () => {
    const untrusted = "untrusted_root at ARK-Milan, subjectPublicKeyInfo";
    expect(outcome(verify({ trustAnchors: new Map() }))).toBe(untrusted);
    expect(outcome(verify({ trustAnchors: snp.asVendorRoot(vendor, "Genoa") }))).toBe(untrusted);
  });

  test("is refused with any single bit of a certificate, the report or the list flipped, as without a cache", () => {
    const buffers = [...evidence.certificates, evidence.report, listOf()];
    const place = fc
      .nat(buffers.length - 1)
      .chain((index) => fc.record({ index: fc.constant(index), bit: fc.nat((buffers[index]?.length ?? 1) * 8 - 1) }));
    fc.assert(
      fc.property(place, ({ index, bit }) => {
        const [a, b, c, report, crl] = buffers.map((bytes, other) => (other === index ? flipped(bytes, bit) : bytes));
        const changed = [a, b, c].filter((der) => der !== undefined);
        const of = (by: EvidenceCache | undefined): string | undefined =>
          outcome(verify({ crl, cache: by }, { certificates: changed, report: report ?? Buffer.alloc(0) }));
        const want = of(undefined);
        expect(of(cache)).toBe(want);
        expect(want).toBeDefined();
      }),
      { numRuns: 60 },
    );
  });
});

describe("TDX evidence that was verified before", () => {
  let vendor: tdx.TestVendor;
  let evidence: TdxEvidence;
  let collateral: TdxCollateral;
  let cache: EvidenceCache;
  let options: TdxVerifyOptions;

  beforeAll(async () => {
    vendor = await tdx.createTestVendor();
    evidence = tdx.makeEvidence(vendor);
    collateral = tdx.makeCollateral(vendor);
    cache = new EvidenceCache();
    options = { trustAnchors: new Set([vendor.rootDigest]), at: tdx.NOW, collateral, cache };
    verifyTdx(evidence, options);
  });

  function verify(changes: Partial<TdxVerifyOptions>, other: Partial<TdxEvidence> = {}): () => unknown {
    return () => verifyTdx({ ...evidence, ...other }, { ...options, ...changes });
  }

  test("is verified again, with another quote too", () => {
    expect(outcome(verify({}))).toBeUndefined();
    const { quote } = tdx.makeEvidence(vendor, { body: { reportData: Buffer.alloc(64, 1) } });
    expect(outcome(verify({}, { quote }))).toBeUndefined();
  });

  test("is refused once a certificate or the collateral has expired", () => {
    expect(outcome(verify({ at: MUCH_LATER }))).toBe("certificate_expired at Intel SGX Root CA");
    expect(outcome(verify({ at: LATER }))).toBe("collateral_expired at TCB info");
  });

  test.each([
    ["the PCK certificate", { pckCrl: { serials: [tdx.SERIALS.pck] } }, "Intel SGX PCK Certificate"],
    ["its issuer", { rootCrl: { serials: [tdx.SERIALS.ca] } }, "Intel SGX PCK Platform CA"],
    ["the signer of the collateral", { rootCrl: { serials: [tdx.SERIALS.signer] } }, "Intel SGX TCB Signing"],
  ] as const)("is refused once %s is revoked", (_, scenario, where) => {
    const { rootCrl, pckCrl } = tdx.makeCollateral(vendor, scenario);
    expect(outcome(verify({ collateral: { ...collateral, rootCrl, pckCrl } }))).toBe(`certificate_revoked at ${where}`);
  });

  test("is refused where its root is not trusted", () => {
    const want = "untrusted_root at Intel SGX Root CA, subjectPublicKeyInfo";
    expect(outcome(verify({ trustAnchors: new Set() }))).toBe(want);
  });

  test("is judged by the TCB info that is shown, not by the one before", () => {
    const { tcbInfo } = tdx.makeCollateral(vendor, { tcbInfo: { tcbLevels: [tdx.platformLevel({}, "OutOfDate")] } });
    expect(verifyTdx(evidence, { ...options, collateral: { ...collateral, tcbInfo } }).tcbStatus).toBe("OutOfDate");
    expect(verifyTdx(evidence, options).tcbStatus).toBe("UpToDate");
  });

  test("is answered with any single bit of the quote or the collateral flipped as without a cache", () => {
    const names = ["tcbInfo", "qeIdentity", "signingChain", "rootCrl", "pckCrl", "quote"] as const;
    const bytesOf = { ...collateral, quote: evidence.quote };
    const place = fc
      .constantFrom(...names)
      .chain((name) => fc.record({ name: fc.constant(name), bit: fc.nat(bytesOf[name].length * 8 - 1) }));
    fc.assert(
      fc.property(place, ({ name, bit }) => {
        const changed = flipped(bytesOf[name], bit);
        const change = name === "quote" ? {} : { collateral: { ...collateral, [name]: changed } };
        const of = (by: EvidenceCache | undefined): string | undefined =>
          outcome(verify({ ...change, cache: by }, name === "quote" ? { quote: changed } : {}));
        expect(of(cache)).toBe(of(undefined));
      }),
      { numRuns: 200 },
    );
  });
});
