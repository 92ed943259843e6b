import { generateKeyPairSync } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { TAG } from "../pki/der.ts";
import { encodeBitString, encodeDer, encodeOid, encodeSequence } from "../pki/der-writer.ts";
import { ManifestError } from "./error.ts";
import { pathText } from "./json.ts";
import { parseManifest } from "./manifest.ts";
import { FIRST_VERSION } from "./transit.ts";

const HASH = "ab".repeat(32);
const OTHER_HASH = "cd".repeat(32);

function spkiHex(type: "rsa" | "rsa-pss" | "ec", bits = 2048): string {
  const { publicKey } =
    type === "ec"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync(type as "rsa", { modulusLength: bits });
  return publicKey.export({ type: "spki", format: "der" }).toString("hex");
}

const RSA = spkiHex("rsa");

/** A key that takes long to verify by: so many bytes of modulus and exponent. */
function hugeRsa(modulusBytes: number, exponentBytes: number): string {
  const integer = (length: number): Uint8Array => encodeDer(TAG.integer, Buffer.of(0), Buffer.alloc(length, 0xff));
  const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), encodeDer(TAG.null));
  const key = encodeSequence(integer(modulusBytes), integer(exponentBytes));
  return toHex(encodeSequence(algorithm, encodeBitString(key)));
}

const MANIFEST = {
  Policies: {
    [HASH]: { SANs: ["web", "*", "203.0.113.34", "spiffe://example.org/web"], WorkloadSecretID: "web", Role: "" },
    [OTHER_HASH]: { SANs: ["coordinator"], Role: "coordinator" },
  },
  ReferenceValues: {
    snp: [
      {
        ProductName: "Milan",
        TrustedMeasurement: "11".repeat(48),
        SigningKey: "VCEK",
        MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 },
        MinimumMitigationVector: 5,
        GuestPolicy: { ABIMinor: 31, SMT: true, Debug: false },
        PlatformInfo: { SMTEnabled: true },
        AllowedChipIDs: ["22".repeat(64)],
      },
    ],
    tdx: [
      {
        MrTd: "33".repeat(48),
        MrSeam: "44".repeat(48),
        Rtmrs: ["50", "51", "52", "53"].map((byte) => byte.repeat(48)),
        Xfam: "e742060000000000",
        TdAttributes: "0000005000000080",
        MrOwner: "54".repeat(48),
        MrOwnerConfig: "55".repeat(48),
        MrServiceTd: "56".repeat(48),
        MinimumTeeTcbSvn: "02".repeat(16),
        MinimumTCBEvaluationDataNumber: 18,
        AllowedPIIDs: ["57".repeat(16)],
        MemoryIntegrity: true,
        SMTDisabled: true,
        StaticPlatform: true,
      },
    ],
    insecure: [{ RootDigest: "66".repeat(32), TrustedMeasurement: "77".repeat(48) }],
  },
  WorkloadOwnerKeyDigests: ["88".repeat(32)],
  SeedshareOwnerPubKeys: [RSA],
};

type Editable = Record<string, unknown>;

/** The manifest with one value changed; `undefined` takes the key away. */
function changed(path: readonly (string | number)[], value: unknown): Uint8Array {
  const copy = structuredClone(MANIFEST) as Editable;
  const last = path.at(-1) ?? "";
  const parent = path.slice(0, -1).reduce<Editable>((inner, step) => inner[step] as Editable, copy);
  parent[last] = value;
  return Buffer.from(JSON.stringify(copy));
}

function refusal(bytes: Uint8Array): ManifestError {
  try {
    parseManifest(bytes);
  } catch (error) {
    if (error instanceof ManifestError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("reads a manifest", () => {
  const manifest = parseManifest(Buffer.from(JSON.stringify(MANIFEST)));
  expect([...manifest.policies]).toEqual([
    [
      HASH,
      {
        sans: [
          { kind: "dns", value: "web" },
          { kind: "dns", value: "*" },
          { kind: "ip", value: "203.0.113.34" },
          { kind: "uri", value: "spiffe://example.org/web" },
        ],
        workloadSecretId: "web",
        role: undefined,
        transit: FIRST_VERSION,
      },
    ],
    [
      OTHER_HASH,
      {
        sans: [{ kind: "dns", value: "coordinator" }],
        workloadSecretId: undefined,
        role: "coordinator",
        transit: FIRST_VERSION,
      },
    ],
  ]);
  expect(manifest.referenceValues).toEqual({
    snp: [
      {
        productName: "Milan",
        image: { kind: "measured", measurement: Buffer.alloc(48, 0x11) },
        signingKey: { kind: "vcek" },
        minimumMitigationVector: 5,
        minimumTcb: { bootloader: 3, tee: 0, snp: 8, microcode: 115, fmc: undefined },
        guestPolicy: { ABIMinor: 31, SMT: true, Debug: false },
        platformInfo: { SMTEnabled: true },
        allowedChipIds: [Buffer.alloc(64, 0x22)],
      },
    ],
    tdx: [
      {
        mrTd: Buffer.alloc(48, 0x33),
        mrSeam: Buffer.alloc(48, 0x44),
        rtmrs: [0x50, 0x51, 0x52, 0x53].map((byte) => Buffer.alloc(48, byte)),
        xfam: Buffer.from("e742060000000000", "hex"),
        tdAttributes: Buffer.from("0000005000000080", "hex"),
        mrOwner: Buffer.alloc(48, 0x54),
        mrOwnerConfig: Buffer.alloc(48, 0x55),
        mrServiceTd: Buffer.alloc(48, 0x56),
        minimumTeeTcbSvn: Buffer.alloc(16, 2),
        minimumTcbEvaluationDataNumber: 18,
        allowedPiids: [Buffer.alloc(16, 0x57)],
        memoryIntegrity: true,
        smtDisabled: true,
        staticPlatform: true,
      },
    ],
    insecure: [{ rootDigest: "66".repeat(32), image: { kind: "measured", measurement: Buffer.alloc(48, 0x77) } }],
  });
  expect(manifest.workloadOwnerKeyDigests).toEqual(["88".repeat(32)]);
  expect(manifest.seedshareOwnerPubKeys).toEqual([Buffer.from(RSA, "hex")]);
});

test("a manifest of nothing but faults is refused as any other", () => {
  const document = { ...MANIFEST, WorkloadOwnerKeyDigests: Array<number>(250_000).fill(0) };
  expect(refusal(Buffer.from(JSON.stringify(document)))).toMatchObject({ code: "invalid_manifest", where: "$" });
});

test("certificates live a year, or as long as the manifest says", () => {
  expect(parseManifest(Buffer.from(JSON.stringify(MANIFEST))).certificateLifetimeMs).toBe(365 * 24 * 3_600_000);
  expect(parseManifest(changed(["CertificateLifetime"], "1h30m")).certificateLifetimeMs).toBe(5_400_000);
});

test("needs one kind of reference values only, and no owners", () => {
  const manifest = parseManifest(
    Buffer.from(
      JSON.stringify({
        Policies: {},
        ReferenceValues: { insecure: MANIFEST.ReferenceValues.insecure },
        WorkloadOwnerKeyDigests: [],
        SeedshareOwnerPubKeys: [],
      }),
    ),
  );
  expect(manifest.referenceValues).toMatchObject({ snp: [], tdx: [] });
});

test("takes Turin with the version of its FMC", () => {
  const { referenceValues } = parseManifest(
    changed(["ReferenceValues", "snp", 0], {
      ProductName: "Turin",
      TrustedMeasurement: "AB".repeat(48),
      MinimumTCB: { FMCVersion: 1, BootloaderVersion: 1, TEEVersion: 1, SNPVersion: 4, MicrocodeVersion: 88 },
    }),
  );
  expect(referenceValues.snp[0]).toMatchObject({ minimumTcb: { fmc: 1 }, allowedChipIds: [], guestPolicy: undefined });
});

test("takes the key of a cloud with its name, and for no chips", () => {
  const [first] = MANIFEST.ReferenceValues.snp;
  const vlek = { ...first, SigningKey: "VLEK", CSPID: "cloud.example", AllowedChipIDs: [] };
  expect(parseManifest(changed(["ReferenceValues", "snp", 0], vlek)).referenceValues.snp[0]).toMatchObject({
    signingKey: { kind: "vlek", cspId: "cloud.example" },
  });
  const { SigningKey: _, ...without } = first ?? { SigningKey: "" };
  expect(parseManifest(changed(["ReferenceValues", "snp", 0], without)).referenceValues.snp[0]).toMatchObject({
    signingKey: { kind: "vcek" },
  });
  const where = (set: object): string[] =>
    refusal(changed(["ReferenceValues", "snp", 0], set)).faults.map((fault) => fault.where);
  const path = "$.ReferenceValues.snp[0]";
  expect(where({ ...vlek, CSPID: undefined })).toEqual([`${path}.CSPID`]);
  expect(where({ ...vlek, AllowedChipIDs: ["22".repeat(64)] })).toEqual([`${path}.AllowedChipIDs`]);
  expect(where({ ...vlek, CSPID: undefined, AllowedChipIDs: ["22".repeat(64)] })).toHaveLength(2);
  expect(where({ ...vlek, SigningKey: "VCEK" })).toEqual([`${path}.CSPID`]);
  expect(where({ ...vlek, SigningKey: undefined })).toEqual([`${path}.CSPID`]);
  for (const CSPID of ["", "a\nb", "é", "a".repeat(256), 7]) {
    expect(where({ ...vlek, CSPID })).toEqual([`${path}.CSPID`]);
  }
});

test("asks for nothing that is left out", () => {
  const { MrTd, MrSeam, Rtmrs, Xfam, MinimumTeeTcbSvn } = MANIFEST.ReferenceValues.tdx[0] ?? {};
  const least = { MrTd, MrSeam, Rtmrs, Xfam, MinimumTeeTcbSvn };
  const [values] = parseManifest(changed(["ReferenceValues", "tdx"], [least])).referenceValues.tdx;
  const given = Object.entries(values ?? {}).filter(([, value]) => value !== undefined);
  expect(given.map(([key]) => key)).toEqual(["mrTd", "mrSeam", "rtmrs", "xfam", "minimumTeeTcbSvn", "allowedPiids"]);
  expect(values?.allowedPiids).toEqual([]);
});

test("takes no attribute of a TD that never passes", () => {
  const path = ["ReferenceValues", "tdx", 0, "TdAttributes"];
  for (let bit = 0; bit < 64; bit++) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(1n << BigInt(bit));
    const manifest = changed(path, bytes.toString("hex"));
    // The group TUD, and MIGRATABLE.
    if (bit < 8 || bit === 29) expect(refusal(manifest).faults.map(({ where }) => where)).toEqual([pathText(path)]);
    else expect(() => parseManifest(manifest)).not.toThrow();
  }
});

test.for([
  ["a typing error in a key", ["PoliciesX"], {}, "$.PoliciesX"],
  ["an unknown key of a policy", ["Policies", HASH, "sans"], [], `$.Policies["${HASH}"].sans`],
  [
    "an unknown flag",
    ["ReferenceValues", "snp", 0, "GuestPolicy", "Smt"],
    true,
    "$.ReferenceValues.snp[0].GuestPolicy.Smt",
  ],
  ["an unknown kind of TEE", ["ReferenceValues", "sgx"], [], "$.ReferenceValues.sgx"],
  ["a certificate lifetime that is a number", ["CertificateLifetime"], 3600, "$.CertificateLifetime"],
  ["a certificate lifetime of two years", ["CertificateLifetime"], "17520h", "$.CertificateLifetime"],
  ["no policies", ["Policies"], undefined, "$.Policies"],
  ["policies in a list", ["Policies"], [], "$.Policies"],
  ["a policy that is null", ["Policies", HASH], null, `$.Policies["${HASH}"]`],
  ["an upper-case hash", ["Policies", "AB".repeat(32)], { SANs: [] }, `$.Policies["${"AB".repeat(32)}"]`],
  ["a short hash", ["Policies", "ab".repeat(31)], { SANs: [] }, `$.Policies["${"ab".repeat(31)}"]`],
  ["a hash that is no hex", ["Policies", "xy".repeat(32)], { SANs: [] }, `$.Policies["${"xy".repeat(32)}"]`],
  ["a policy without names", ["Policies", HASH, "SANs"], undefined, `$.Policies["${HASH}"].SANs`],
  ["a name that is no name", ["Policies", HASH, "SANs", 1], "a b", `$.Policies["${HASH}"].SANs[1]`],
  ["a name that is a number", ["Policies", HASH, "SANs", 0], 7, `$.Policies["${HASH}"].SANs[0]`],
  ["a secret that is a number", ["Policies", HASH, "WorkloadSecretID"], 1, `$.Policies["${HASH}"].WorkloadSecretID`],
  ["an unknown role", ["Policies", HASH, "Role"], "Coordinator", `$.Policies["${HASH}"].Role`],
  ["no reference values", ["ReferenceValues"], {}, "$.ReferenceValues"],
  ["empty reference values", ["ReferenceValues"], { snp: [], tdx: [] }, "$.ReferenceValues"],
  ["reference values that are null", ["ReferenceValues", "snp"], null, "$.ReferenceValues.snp"],
  ["another product", ["ReferenceValues", "snp", 0, "ProductName"], "Rome", "$.ReferenceValues.snp[0].ProductName"],
  [
    "a measurement nobody filled in",
    ["ReferenceValues", "snp", 0, "TrustedMeasurement"],
    "",
    "$.ReferenceValues.snp[0].TrustedMeasurement",
  ],
  [
    "a measurement that is too short",
    ["ReferenceValues", "snp", 0, "TrustedMeasurement"],
    "11".repeat(47),
    "$.ReferenceValues.snp[0].TrustedMeasurement",
  ],
  [
    "half a byte",
    ["ReferenceValues", "snp", 0, "TrustedMeasurement"],
    "1".repeat(95),
    "$.ReferenceValues.snp[0].TrustedMeasurement",
  ],
  [
    "a measurement with a prefix",
    ["ReferenceValues", "snp", 0, "TrustedMeasurement"],
    `0x${"11".repeat(47)}`,
    "$.ReferenceValues.snp[0].TrustedMeasurement",
  ],
  [
    "a version nobody filled in",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    null,
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "no version",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    undefined,
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "a version of two bytes",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    256,
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "a negative version",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    -1,
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "a broken version",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    8.5,
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "a version in quotes",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "SNPVersion"],
    "8",
    "$.ReferenceValues.snp[0].MinimumTCB.SNPVersion",
  ],
  [
    "an FMC on Milan",
    ["ReferenceValues", "snp", 0, "MinimumTCB", "FMCVersion"],
    1,
    "$.ReferenceValues.snp[0].MinimumTCB.FMCVersion",
  ],
  [
    "no FMC on Turin",
    ["ReferenceValues", "snp", 0, "ProductName"],
    "Turin",
    "$.ReferenceValues.snp[0].MinimumTCB.FMCVersion",
  ],
  [
    "a flag that is a number",
    ["ReferenceValues", "snp", 0, "PlatformInfo", "SMTEnabled"],
    1,
    "$.ReferenceValues.snp[0].PlatformInfo.SMTEnabled",
  ],
  [
    "a short chip",
    ["ReferenceValues", "snp", 0, "AllowedChipIDs", 0],
    "22".repeat(8),
    "$.ReferenceValues.snp[0].AllowedChipIDs[0]",
  ],
  [
    "three RTMRs",
    ["ReferenceValues", "tdx", 0, "Rtmrs"],
    Array(3).fill("50".repeat(48)),
    "$.ReferenceValues.tdx[0].Rtmrs",
  ],
  ["an empty RTMR", ["ReferenceValues", "tdx", 0, "Rtmrs", 3], "", "$.ReferenceValues.tdx[0].Rtmrs[3]"],
  ["no MrSeam", ["ReferenceValues", "tdx", 0, "MrSeam"], undefined, "$.ReferenceValues.tdx[0].MrSeam"],
  ["a long XFAM", ["ReferenceValues", "tdx", 0, "Xfam"], "00".repeat(9), "$.ReferenceValues.tdx[0].Xfam"],
  ["another signing key", ["ReferenceValues", "snp", 0, "SigningKey"], "vcek", "$.ReferenceValues.snp[0].SigningKey"],
  ["the name of a cloud alone", ["ReferenceValues", "snp", 0, "CSPID"], "a.example", "$.ReferenceValues.snp[0].CSPID"],
  ...[-1, 1.5, "5", "0x5", 2 ** 53, null, true].map(
    (vector) =>
      [
        `a mitigation vector of ${JSON.stringify(vector)}`,
        ["ReferenceValues", "snp", 0, "MinimumMitigationVector"],
        vector,
        "$.ReferenceValues.snp[0].MinimumMitigationVector",
      ] as const,
  ),
  ...(
    [
      ["TdAttributes", "00"],
      ["TdAttributes", 0],
      ["TdAttributes", ""],
      ["MrOwner", "00".repeat(47)],
      ["MrOwnerConfig", "00".repeat(49)],
      ["MrServiceTd", ""],
      ["MinimumTCBEvaluationDataNumber", -1],
      ["MinimumTCBEvaluationDataNumber", "18"],
      ["MinimumTCBEvaluationDataNumber", 18.5],
      ["MinimumTCBEvaluationDataNumber", 2 ** 32],
      ["AllowedPIIDs", "57".repeat(16)],
      ["MemoryIntegrity", 1],
      ["SMTDisabled", "true"],
      ["StaticPlatform", null],
    ] as const
  ).map(
    ([key, value]) =>
      [
        `${key} of ${JSON.stringify(value)}`,
        ["ReferenceValues", "tdx", 0, key],
        value,
        `$.ReferenceValues.tdx[0].${key}`,
      ] as const,
  ),
  [
    "a short PIID",
    ["ReferenceValues", "tdx", 0, "AllowedPIIDs", 0],
    "57".repeat(15),
    "$.ReferenceValues.tdx[0].AllowedPIIDs[0]",
  ],
  ["a short SVN", ["ReferenceValues", "tdx", 0, "MinimumTeeTcbSvn"], "02", "$.ReferenceValues.tdx[0].MinimumTeeTcbSvn"],
  [
    "a short root digest",
    ["ReferenceValues", "insecure", 0, "RootDigest"],
    "66",
    "$.ReferenceValues.insecure[0].RootDigest",
  ],
  ["no owners", ["WorkloadOwnerKeyDigests"], undefined, "$.WorkloadOwnerKeyDigests"],
  ["an owner's whole key", ["WorkloadOwnerKeyDigests", 0], RSA, "$.WorkloadOwnerKeyDigests[0]"],
  ["a share owner's EC key", ["SeedshareOwnerPubKeys", 0], spkiHex("ec"), "$.SeedshareOwnerPubKeys[0]"],
  [
    "a share owner's key for signatures",
    ["SeedshareOwnerPubKeys", 0],
    spkiHex("rsa-pss"),
    "$.SeedshareOwnerPubKeys[0]",
  ],
  ["a share owner's long key", ["SeedshareOwnerPubKeys", 0], hugeRsa(1025, 3), "$.SeedshareOwnerPubKeys[0]"],
  ["a share owner's huge exponent", ["SeedshareOwnerPubKeys", 0], hugeRsa(256, 200), "$.SeedshareOwnerPubKeys[0]"],
  ["a share owner's short key", ["SeedshareOwnerPubKeys", 0], spkiHex("rsa", 1024), "$.SeedshareOwnerPubKeys[0]"],
  ["bytes behind a share owner's key", ["SeedshareOwnerPubKeys", 0], `${RSA}00`, "$.SeedshareOwnerPubKeys[0]"],
  ["a share owner's key cut off", ["SeedshareOwnerPubKeys", 0], RSA.slice(0, -2), "$.SeedshareOwnerPubKeys[0]"],
  [
    "a share owner's key in PEM",
    ["SeedshareOwnerPubKeys", 0],
    "-----BEGIN PUBLIC KEY-----",
    "$.SeedshareOwnerPubKeys[0]",
  ],
] as const)("refuses %s and names the place", ([, path, value, where]) => {
  const error = refusal(changed(path, value));
  expect(error.code).toBe("invalid_manifest");
  expect(error.faults.map((fault) => fault.where)).toEqual([where]);
  expect(error.where).toBe(where);
});

test.for([["null"], ["[]"], ["7"], ['"x"']])("refuses %s", ([text = ""]) => {
  expect(refusal(Buffer.from(text))).toMatchObject({ code: "invalid_manifest", where: "$" });
});

test("refuses the key __proto__ wherever it stands", () => {
  const top = JSON.stringify(MANIFEST).replace("{", '{"__proto__": {"Policies": {}}, ');
  expect(refusal(Buffer.from(top)).where).toBe("$.__proto__");
  const policy = JSON.stringify(MANIFEST).replace('"Policies":{', '"Policies":{"__proto__": {"SANs": []},');
  expect(refusal(Buffer.from(policy)).where).toBe("$.Policies.__proto__");
});

test("reads how many seed share owners it takes, 1 where it does not say", () => {
  const owners = [RSA, spkiHex("rsa")];
  const read = (threshold: unknown): number =>
    parseManifest(
      Buffer.from(JSON.stringify({ ...MANIFEST, SeedshareOwnerPubKeys: owners, SeedshareThreshold: threshold })),
    ).seedshareThreshold;
  expect([undefined, 1, 2].map(read)).toEqual([1, 1, 2]);
  for (const threshold of [0, 3, 1.5, -1, "1", null]) {
    expect(() => read(threshold)).toThrow(
      expect.objectContaining({ code: "invalid_manifest", where: "$.SeedshareThreshold" }),
    );
  }
});

test("refuses a seed share owner who stands there twice, in whatever case", () => {
  const owners = [RSA, spkiHex("rsa"), RSA.toUpperCase()];
  expect(refusal(changed(["SeedshareOwnerPubKeys"], owners))).toMatchObject({
    where: "$.SeedshareOwnerPubKeys[2]",
    want: "each key once",
  });
});

test("refuses more seed share owners than shares can be made for", () => {
  // Other moduli, so other keys: what is looked at here is their number.
  const owners = Array.from({ length: 256 }, (_, index) => {
    const der = Buffer.from(RSA, "hex");
    der.writeUInt16BE(index, 100);
    return der.toString("hex");
  });
  const read = (count: number, threshold: number): unknown =>
    parseManifest(
      Buffer.from(
        JSON.stringify({ ...MANIFEST, SeedshareOwnerPubKeys: owners.slice(0, count), SeedshareThreshold: threshold }),
      ),
    );
  read(255, 255);
  read(256, 1);
  expect(() => read(256, 2)).toThrow(
    expect.objectContaining({ where: "$.SeedshareOwnerPubKeys", want: "at most 255 keys with a threshold" }),
  );
});

test("reports all faults together, duplicates too", () => {
  const text = JSON.stringify({ ...MANIFEST, Policies: { xy: { SANs: ["a b"] } }, Extra: 1 });
  const error = refusal(Buffer.from(text.replace("{", '{"Extra": 0, ')));
  expect(error.code).toBe("duplicate_key");
  expect(error.faults.map((fault) => fault.where)).toEqual([
    expect.stringMatching(/^\$\.Extra at 1:\d+$/),
    "$.Policies.xy",
    "$.Policies.xy.SANs[0]",
    "$.Extra",
  ]);
  for (const { where, got, want } of error.faults)
    expect(error.message).toContain(`${where}: got ${got}, want ${want}`);
});

test("says what was there and what would be right", () => {
  expect(refusal(changed(["Policies", HASH, "Role"], "owner")).describe()).toBe(
    `invalid_manifest: this is no valid manifest (at $.Policies["${HASH}"].Role, got "owner", want "coordinator" or "")`,
  );
});

test("never fails otherwise, whatever byte is changed", () => {
  const bytes = Buffer.from(JSON.stringify(MANIFEST));
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(at) ^ flip, at);
      try {
        parseManifest(copy);
      } catch (error) {
        expect(error).toBeInstanceOf(ManifestError);
      }
    }),
    { numRuns: 1000 },
  );
});

test("NotBefore is a time in UTC, and each time has one form", () => {
  const parse = (text: unknown): Date | undefined => parseManifest(changed(["NotBefore"], text)).notBefore;
  expect(parse("2026-05-04T03:02:01Z")).toEqual(new Date("2026-05-04T03:02:01Z"));
  expect(parse("2028-02-29T23:59:59Z")).toEqual(new Date("2028-02-29T23:59:59Z"));
  expect(parse(undefined)).toBeUndefined();
  for (const wrong of [
    "",
    "2026-05-04",
    "2026-05-04T03:02Z",
    "2026-05-04T03:02:01",
    "2026-05-04T03:02:01.000Z",
    "2026-05-04T03:02:01+00:00",
    "2026-05-04t03:02:01z",
    "2026-05-04 03:02:01Z",
    " 2026-05-04T03:02:01Z",
    "2026-05-04T03:02:01Z\n",
    "2026-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-05-04T24:00:00Z",
    "2026-06-30T23:59:60Z",
    "+02026-05-04T03:02:01Z",
    1777863721,
    null,
  ]) {
    expect(() => parse(wrong), String(wrong)).toThrow(
      expect.objectContaining({ code: "invalid_manifest", where: "$.NotBefore" }),
    );
  }
});

test("a change needs as many owners as the manifest says, and one where it says nothing", () => {
  const owners = Array.from({ length: 17 }, (_, index) => index.toString(16).padStart(64, "0"));
  const read = (keys: readonly string[], threshold?: unknown): number =>
    parseManifest(
      Buffer.from(JSON.stringify({ ...MANIFEST, WorkloadOwnerKeyDigests: keys, WorkloadOwnerThreshold: threshold })),
    ).workloadOwnerThreshold;
  expect(read([])).toBe(1);
  expect(read([], 1)).toBe(1);
  expect(read(owners.slice(0, 3), 3)).toBe(3);
  // A transition holds no more signatures.
  expect(read(owners, 16)).toBe(16);
  const [one = ""] = owners;
  const wrong: [string[], unknown][] = [
    [[], 2],
    [[one], 2],
    [[one, one], 2],
    [owners, 17],
    [owners, 0],
    [owners, -1],
    [owners, 1.5],
    [owners, "2"],
    [owners, null],
  ];
  for (const [keys, threshold] of wrong) {
    expect(() => read(keys, threshold), JSON.stringify(threshold)).toThrow(
      expect.objectContaining({ code: "invalid_manifest", where: "$.WorkloadOwnerThreshold" }),
    );
  }
});

test("a file of nothing but faults is refused like one with few", () => {
  for (const faulty of [{ WorkloadOwnerKeyDigests: Array.from({ length: 500_000 }, () => 0) }, { Policies: [] }]) {
    const bytes = Buffer.from(JSON.stringify({ ...MANIFEST, ...faulty }));
    expect(() => parseManifest(bytes)).toThrow(expect.objectContaining({ code: "invalid_manifest" }));
  }
});
