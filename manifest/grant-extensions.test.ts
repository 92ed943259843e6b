import { execFileSync } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { issueLeaf } from "../pki/certificate.ts";
import { type Granted, grantExtensions, grantOf } from "./grant-extensions.ts";

const key = generateKeyPairSync("ec", { namedCurve: "P-256" });

function leaf(granted?: Granted): string {
  return issueLeaf({
    subject: "web",
    publicKey: key.publicKey,
    issuer: { name: "Contrast mesh CA", key },
    notBefore: new Date("2026-01-01"),
    notAfter: new Date("2046-01-01"),
    names: [],
    extensions: granted === undefined ? new Map() : grantExtensions(granted),
  });
}

const policy = "ab".repeat(32);

test.for(["web", "apps/v1/StatefulSet/shop/vault", "größe 🔑", undefined])(
  "a leaf says what it was granted: %s",
  (id) => {
    const granted = { policy, workloadSecretId: id };
    expect(grantOf(new X509Certificate(leaf(granted)).raw)).toEqual(granted);
  },
);

test("a leaf of before says nothing", () => {
  expect(grantOf(new X509Certificate(leaf()).raw)).toBeUndefined();
});

test("openssl shows both", () => {
  const text = execFileSync("openssl", ["x509", "-text", "-noout"], {
    input: leaf({ policy, workloadSecretId: "vault_unsealing" }),
  }).toString();
  expect(text).toMatch(new RegExp(`1\\.3\\.9901\\.2\\.4\\.1: *\\n *\\.@${policy}`));
  expect(text).toMatch(/1\.3\.9901\.2\.4\.2: *\n *\.\.vault_unsealing/);
});
