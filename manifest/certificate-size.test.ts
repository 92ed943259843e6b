import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Claims, claimExtensions } from "../attestation/claims.ts";
import { SNP_CLAIM_EXTENSIONS } from "../attestation/snp/claims.ts";
import { TDX_CLAIM_EXTENSIONS } from "../attestation/tdx/claims.ts";
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

/** Claims that are as long as they get. */
function longestOf(forms: Readonly<Record<string, { readonly longest: string }>>): Claims {
  return Object.fromEntries(Object.entries(forms).map(([name, { longest }]) => [name, longest])) as unknown as Claims;
}
const snp = {
  ...longestOf(SNP_CLAIM_EXTENSIONS.forms),
  vmpl: 3,
  debug: true,
  product: "Turin",
  guestSvn: undefined,
} as Claims;
const tdx = (advisories: number): Claims => {
  const longest = Array.from({ length: advisories }, () => "INTEL-SA-01234").join(", ");
  return { ...longestOf(TDX_CLAIM_EXTENSIONS.forms), advisories: longest } as Claims;
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
      fc.constantFrom(snp, tdx(0), tdx(40)),
      fc.constantFrom(ec, rsa),
      fc.option(fc.string({ minLength: 1, maxLength: 300, unit: "binary" }), { nil: undefined }),
      (names, claims, key, id) => chainSize(names, claims, key, id) <= longestChain(names, id),
    ),
    { numRuns: 200 },
  );
});

test("the bound is near what a chain can be", () => {
  for (const names of [[], [{ kind: "uri", value: `spiffe://a/${"x".repeat(2000)}` } as const]]) {
    expect(longestChain(names) - chainSize(names, tdx(40), rsa)).toBeLessThan(300);
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
    want: "fewer or shorter names, or a shorter WorkloadSecretID: at most 9216 bytes with all claims",
  });
  expect(longestChain(names)).toBeGreaterThan(LONGEST_CHAIN);
});
