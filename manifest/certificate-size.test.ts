import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Claims, claimExtensions } from "../attestation/claims.ts";
import { issueCa, issueLeaf } from "../pki/certificate.ts";
import { generateEcKey } from "../pki/keys.ts";
import { certificateMessageSize, LONGEST_CHAIN, longChains, longestChain } from "./certificate-size.ts";
import { grantExtensions } from "./grant-extensions.ts";
import { generationExtensions } from "./generation-extensions.ts";
import { parseSan, type San } from "./san.ts";

/** The bound is compared with certificates that are made as the Coordinator makes them. */

const [rootKey, meshKey] = [await generateEcKey("P-384"), await generateEcKey("P-256")];
const ec = (await generateEcKey("P-256")).publicKey;
const { publicKey: rsa } = generateKeyPairSync("rsa", { modulusLength: 4096 });
const validity = { notBefore: new Date("2049-12-31T00:00:00Z"), notAfter: new Date("2050-12-31T00:00:00Z") };

const tdx = (advisories: number): Claims => ({
  tee: "tdx",
  mrTd: "a".repeat(96),
  mrSeam: "b".repeat(96),
  rtmr0: "c".repeat(96),
  rtmr1: "d".repeat(96),
  rtmr2: "e".repeat(96),
  rtmr3: "f".repeat(96),
  mrConfigId: "0".repeat(96),
  xfam: "1".repeat(16),
  fmspc: "2".repeat(12),
  ppid: "3".repeat(32),
  piid: "5".repeat(32),
  teeTcbSvn: "4".repeat(32),
  tcbStatus: "TDRelaunchAdvisedConfigurationNeeded",
  tcbEvaluationDataNumber: Number.MAX_SAFE_INTEGER,
  advisories: Array.from({ length: advisories }, () => "INTEL-SA-01234").join(", "),
  debug: false,
  insecure: false,
});
const snp: Claims = {
  tee: "snp",
  product: "Turin",
  measurement: "a".repeat(96),
  hostData: "b".repeat(64),
  chipId: "c".repeat(128),
  signingKey: "VLEK",
  cspId: "ghijklmnopqrstuv".repeat(4),
  reportedTcb: "fmc 255, bootloader 255, tee 255, snp 255, microcode 255",
  vmpl: 3,
  debug: false,
  insecure: false,
};

function chainSize(names: readonly San[], claims: Claims, publicKey: KeyObject, workloadSecretId?: string): number {
  const issuer = { name: "Contrast mesh CA", key: meshKey };
  const subject = (names[0]?.value ?? "workload").slice(0, 64);
  const granted = grantExtensions({ policy: "a".repeat(64), workloadSecretId });
  const extensions = new Map([...claimExtensions(claims), ...granted]);
  const leaf = issueLeaf({ ...validity, subject, publicKey, issuer, names, extensions });
  const intermediate = issueCa({
    ...validity,
    subject: "Contrast mesh CA",
    publicKey: meshKey.publicKey,
    issuer: { name: "Contrast root CA", key: rootKey },
    pathLength: 0,
    extensions: generationExtensions({ number: Number.MAX_SAFE_INTEGER, manifest: "a".repeat(64) }),
  });
  return certificateMessageSize([leaf, intermediate].map((pem) => new X509Certificate(pem).raw.length));
}

const label = fc.stringMatching(/^[a-z]{1,63}$/);
const name = fc
  .oneof(
    fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join(".")),
    fc.ipV4(),
    fc.ipV6(),
    fc.integer({ min: 1, max: 2000 }).map((length) => `spiffe://a/${"x".repeat(length)}`),
  )
  .map(parseSan)
  .filter((san) => san !== undefined);

test("no chain is longer than its bound, whatever its names, claims and key", () => {
  fc.assert(
    fc.property(
      fc.array(name, { maxLength: 60 }),
      fc.constantFrom(snp, tdx(0), tdx(64)),
      fc.constantFrom(ec, rsa),
      fc.option(fc.string({ minLength: 1, maxLength: 300, unit: "binary" }), { nil: undefined }),
      (names, claims, key, id) => chainSize(names, claims, key, id) <= longestChain(names, id),
    ),
    { numRuns: 200 },
  );
});

test("the bound is near what a chain can be", () => {
  for (const names of [[], [{ kind: "uri", value: `spiffe://a/${"x".repeat(2000)}` } as const]]) {
    expect(longestChain(names) - chainSize(names, tdx(64), rsa)).toBeLessThan(300);
  }
});

test("the longest chain that is allowed leaves room for many names", () => {
  const names = Array.from({ length: 100 }, (_, index): San => ({
    kind: "dns",
    value: `web-${index}.shop.svc.example`,
  }));
  expect(longChains([["ab", { sans: names, workloadSecretId: "apps/v1/StatefulSet/shop/web" }]])).toEqual([]);
});

test("a policy with too many names is named, with what its chain would take", () => {
  const names = Array.from({ length: 300 }, (_, index): San => ({
    kind: "dns",
    value: `web-${index}.shop.svc.example`,
  }));
  const hash = "ab".repeat(32);
  const [fault, ...others] = longChains([
    ["cd".repeat(32), { sans: names.slice(0, 3), workloadSecretId: undefined }],
    [hash, { sans: names, workloadSecretId: undefined }],
  ]);
  expect(others).toEqual([]);
  expect(fault).toEqual({
    where: `$.Policies["${hash}"].SANs`,
    got: `names for a certificate chain of up to ${longestChain(names)} bytes`,
    want: "fewer or shorter names, or a shorter WorkloadSecretID: at most 8192 bytes with all claims",
  });
  expect(longestChain(names)).toBeGreaterThan(LONGEST_CHAIN);
});
