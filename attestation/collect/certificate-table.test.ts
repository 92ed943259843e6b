import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { generateEcKey } from "../../pki/keys.ts";
import { issueCertificate, type Signer } from "../simulated/certificates.ts";
import { EvidenceError } from "../error.ts";
import { PSS_SHA384 } from "../snp/pss.ts";
import { AMD_ROOTS } from "../snp/roots.ts";
import { verifySnp } from "../snp/verify.ts";
import { parseCertificateTable } from "./certificate-table.ts";
import { CERTIFICATE_GUIDS, encodeCertificateTable, type TableEntry } from "./test-certificate-table.ts";

const { vcek, vlek, ask, ark } = CERTIFICATE_GUIDS;
const STRANGER = "00112233445566778899aabbccddeeff";

const { publicKey } = await generateEcKey("P-256");
const unsigned: Signer = { algorithm: PSS_SHA384, sign: () => Buffer.alloc(48) };
const [leaf, middle, root] = ["SEV-VCEK", "SEV-Milan", "ARK-Milan"].map((subject, serial) =>
  issueCertificate(
    {
      subject,
      issuer: "issuer",
      publicKey,
      serial,
      notBefore: new Date("2026-01-01T00:00:00Z"),
      notAfter: new Date("2027-01-01T00:00:00Z"),
      extensions: new Map(),
    },
    unsigned,
  ),
) as [Uint8Array, Uint8Array, Uint8Array];

function pem(der: Uint8Array): Uint8Array {
  return Buffer.from(new X509Certificate(der).toString());
}

test("the certificates of a chain come out as DER, in the order of the table, whichever form they have", () => {
  const table = encodeCertificateTable([
    { guid: ark, bytes: pem(root) },
    { guid: STRANGER, bytes: Buffer.from("of the host's own") },
    { guid: ask, bytes: middle },
    { guid: vcek, bytes: pem(leaf) },
  ]);
  expect(parseCertificateTable(table)).toEqual([root, middle, leaf]);
});

test("a VLEK is a certificate of a chain", () => {
  expect(parseCertificateTable(encodeCertificateTable([{ guid: vlek, bytes: leaf }]))).toEqual([leaf]);
});

test("PEM may end like a text of C", () => {
  const bytes = Buffer.concat([pem(leaf), Buffer.alloc(3)]);
  expect(parseCertificateTable(encodeCertificateTable([{ guid: vcek, bytes }]))).toEqual([leaf]);
});

test.each([
  ["no bytes", Buffer.alloc(0)],
  ["no entries", Buffer.alloc(24)],
  ["a buffer that nobody wrote to", Buffer.alloc(16_384)],
  ["the space behind the table", Buffer.concat([encodeCertificateTable([]), Buffer.alloc(100, 1)])],
])("%s means no certificates", (_, table) => {
  expect(parseCertificateTable(table)).toEqual([]);
});

const good: TableEntry = { guid: vcek, bytes: leaf };

test.each<[string, Uint8Array]>([
  ["that does not end", encodeCertificateTable([good]).fill(0xff, 24)],
  ["that is cut off", encodeCertificateTable([good]).subarray(0, -1)],
  ["of less than one entry", Buffer.alloc(23)],
  ["of too many entries", Buffer.alloc(24 * 66, 1)],
  ["with an entry behind its end", encodeCertificateTable([{ ...good, offset: 0x1_0000 }])],
  ["with offset and length that overflow together", encodeCertificateTable([{ ...good, offset: 0xffff_ffff }])],
  ["with an entry on the list of entries", encodeCertificateTable([{ ...good, offset: 47 }])],
  ["with entries that overlap", encodeCertificateTable([good, { guid: ark, bytes: root, offset: 72 + 1 }])],
  ["with the same bytes twice", encodeCertificateTable([good, { ...good, offset: 72 }])],
  ["with an empty entry", encodeCertificateTable([{ guid: vcek, bytes: Buffer.alloc(0) }, good])],
  ["with a strange entry outside", encodeCertificateTable([{ guid: STRANGER, bytes: leaf, length: 10_000 }])],
  ["with a huge certificate", encodeCertificateTable([{ guid: vcek, bytes: Buffer.alloc(16_385, 0x30) }])],
  ["with something else than a certificate", encodeCertificateTable([{ guid: vcek, bytes: Buffer.from("hello") }])],
  [
    "with bytes behind a certificate",
    encodeCertificateTable([{ guid: vcek, bytes: Buffer.concat([leaf, Buffer.of(0)]) }]),
  ],
  [
    "with two certificates in one entry",
    encodeCertificateTable([{ guid: vcek, bytes: Buffer.concat([pem(leaf), pem(root)]) }]),
  ],
  ["with broken PEM", encodeCertificateTable([{ guid: vcek, bytes: pem(leaf).fill(0x3d, 40, 41) }])],
])("a table %s is refused", (_, table) => {
  expect(() => parseCertificateTable(table)).toThrow(
    expect.objectContaining({ name: "EvidenceError", code: "malformed_certificate" }),
  );
});

test("a refusal names the entry", () => {
  const table = encodeCertificateTable([{ guid: ark, bytes: Buffer.from("hello") }]);
  expect(() => parseCertificateTable(table)).toThrow(
    expect.objectContaining({ where: "certificate table, ARK", want: "one certificate, DER or PEM" }),
  );
});

test("any table of any certificates gives them back", () => {
  const entry = fc.record({
    guid: fc.constantFrom(vcek, vlek, ask, ark, STRANGER),
    bytes: fc.constantFrom(leaf, middle, root, pem(leaf)),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 10 }), fc.nat(100), (entries, rest) => {
      const table = Buffer.concat([encodeCertificateTable(entries), Buffer.alloc(rest, 7)]);
      const want = entries
        .filter(({ guid }) => guid !== STRANGER)
        .map(({ bytes }) => (bytes[0] === 0x30 ? bytes : leaf));
      expect(parseCertificateTable(table)).toEqual(want);
    }),
  );
});

test("no bytes make it do anything else than give certificates or refuse", () => {
  const table = encodeCertificateTable([
    { guid: vcek, bytes: pem(leaf) },
    { guid: ark, bytes: root },
  ]);
  const changed = fc.array(fc.tuple(fc.nat(table.length - 1), fc.nat(255)), { maxLength: 4 }).map((changes) => {
    const copy = Buffer.from(table);
    for (const [at, value] of changes) copy[at] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), changed), (bytes) => {
      try {
        for (const der of parseCertificateTable(bytes)) expect(der[0]).toBe(0x30);
      } catch (error) {
        expect(error).toBeInstanceOf(EvidenceError);
        expect(error).toMatchObject({ code: "malformed_certificate" });
      }
    }),
  );
});

const VECTOR = join(import.meta.dirname, "../../../shared/vectors/snp-genoa-v3-tsm-auxblob");
const recorded = existsSync(VECTOR);

test.runIf(recorded)("recorded certificate table of a Genoa: it completes the report", () => {
  const certificates = parseCertificateTable(readFileSync(join(VECTOR, "auxblob.bin")));
  expect(certificates).toHaveLength(3);
  expect(readFileSync(join(VECTOR, "vcek.der")).equals(certificates[2] ?? Buffer.of())).toBe(true);
  const evidence = { kind: "snp", report: readFileSync(join(VECTOR, "report.bin")), certificates } as const;
  const verified = verifySnp(evidence, { trustAnchors: AMD_ROOTS, at: new Date("2025-07-01T00:00:00Z") });
  expect(verified.product).toBe("Genoa");
});

if (!recorded)
  test.skip("recorded certificate table of a Genoa: there is no folder ../shared/vectors beside the checkout");
