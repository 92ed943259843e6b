import { X509Certificate } from "node:crypto";
import type { Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Claims, claimExtensions } from "../attestation/claims.ts";
import { toHex } from "../bytes/encode.ts";
import { type Authority, issueChain, type Leaf } from "../coordinator/state/authority.ts";
import { grantExtensions } from "../manifest/grant-extensions.ts";
import { TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { NOW, TestCoordinator, WEB_HASH } from "./test-coordinator.ts";
import { followDeployment, type VerifiedDeployment, verifyCertificate, verifyDeployment } from "./verifier.ts";

/** Certificates as the Coordinator's CA issues them, judged by who verified a deployment. */

let coordinator: TestCoordinator;
let server: Server;
let verified: VerifiedDeployment;
let key: KeyPair;
let extensions: ReadonlyMap<string, Uint8Array>;
let time = NOW;

beforeAll(async () => {
  coordinator = await TestCoordinator.create();
  const { url, ...listening } = await coordinator.listen("127.105.1.1");
  server = listening.server;
  const { manifest } = coordinator;
  verified = await verifyDeployment({ url, manifest, allowInsecure: true, now: () => time });
  key = await generateEcKey("P-256");
  extensions = new Map([
    ...claimExtensions(verified.coordinator.claims as unknown as Claims),
    ...grantExtensions({ policy: WEB_HASH, workloadSecretId: "web" }),
  ]);
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const NAMES: Leaf["names"] = [
  { kind: "dns", value: "web" },
  { kind: "dns", value: "*.web.svc.cluster.local" },
  { kind: "ip", value: "10.1.2.3" },
  { kind: "ip", value: "2001:db8::1" },
  { kind: "uri", value: "spiffe://example/web" },
];

function chain(changes: Partial<Leaf> = {}, authority: Authority = coordinator.state.authority, now = NOW): string {
  return issueChain(authority, { publicKey: key.publicKey, names: NAMES, extensions, ...changes }, now);
}

const refusal = async (pem: string): Promise<string> =>
  verifyCertificate(verified, pem).then(
    () => "accepted",
    ({ code, where }: { code: string; where: string }) => `${code}: ${where}`,
  );

test("a certificate of the mesh CA in force is read, with names, grant and every claim", async () => {
  const certificate = await verifyCertificate(verified, chain());
  expect(certificate).toMatchObject({
    policy: WEB_HASH,
    workloadSecretId: "web",
    insecure: true,
    keySha256: toHex(spkiDigest(key.publicKey)),
  });
  expect(certificate.names.map(({ kind, value }) => `${kind} ${value}`)).toEqual([
    "dns web",
    "dns *.web.svc.cluster.local",
    "ip 10.1.2.3",
    "ip 2001:0db8:0000:0000:0000:0000:0000:0001",
    "uri spiffe://example/web",
  ]);
  const claimed = [...extensions.keys()].filter((oid) => oid.startsWith("1.3.9901.2.1."));
  expect(certificate.claims.map(({ oid }) => oid)).toEqual(claimed);
  expect(certificate.claims).toContainEqual({
    name: "insecure",
    value: "true",
    oid: "1.3.9901.2.1.9",
    proof: "verifier",
  });
  expect(new Date(certificate.notBefore)).toEqual(new Date(new X509Certificate(chain()).validFrom));
  expect(Object.isFrozen(certificate.claims[0])).toBe(true);
});

test("a certificate without names, and without a secret, has neither", async () => {
  const plain = new Map([...extensions].filter(([oid]) => oid !== "1.3.9901.2.4.2"));
  const pem = chain({ names: [], extensions: plain });
  expect(await verifyCertificate(verified, pem)).toMatchObject({ names: [], workloadSecretId: null });
});

test("what another CA issued is refused: another deployment's, and the same names under the same subject", async () => {
  const other = await TestCoordinator.create();
  expect(await refusal(chain({}, other.state.authority))).toBe("foreign_certificate: signature");
});

test("a CA is no workload, though the mesh CA's key has signed it", async () => {
  const { meshCa, rootCa } = coordinator.state.authority;
  expect(await refusal(meshCa)).toBe("foreign_certificate: basicConstraints");
  expect(await refusal(rootCa)).toBe("foreign_certificate: signature");
  const [, intermediate = ""] = chain().split(/(?=-----BEGIN)/);
  expect(await refusal(intermediate)).toBe("foreign_certificate: signature");
});

test("it has to be for a policy of the manifest in force, and have claims", async () => {
  const without = (arc: string) => new Map([...extensions].filter(([oid]) => !oid.startsWith(arc)));
  const stranger = grantExtensions({ policy: "ab".repeat(32), workloadSecretId: undefined });
  expect(await refusal(chain({ extensions: new Map([...extensions, ...stranger]) }))).toBe(
    "foreign_certificate: policy",
  );
  expect(await refusal(chain({ extensions: without("1.3.9901.2.4.") }))).toBe("foreign_certificate: policy");
  expect(await refusal(chain({ extensions: without("1.3.9901.2.1.") }))).toBe("foreign_certificate: claims");
});

test("it is valid for a time", async () => {
  const pem = chain();
  const { validToDate, validFromDate } = new X509Certificate(pem);
  for (const at of [new Date(validToDate.getTime() + 1000), new Date(validFromDate.getTime() - 1000)]) {
    time = at;
    expect(await refusal(pem)).toMatch(/^foreign_certificate: /);
  }
  time = NOW;
  expect(await refusal(pem)).toBe("accepted");
});

test("no bit of it can be another", async () => {
  const der = new X509Certificate(chain()).raw;
  for (let at = 0; at < der.length; at += 7) {
    const changed = Buffer.from(der);
    changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at);
    const pem = `-----BEGIN CERTIFICATE-----\n${changed.toString("base64")}\n-----END CERTIFICATE-----\n`;
    expect(await refusal(pem), `byte ${at}`).toMatch(/^(?:foreign|malformed)_certificate: /);
  }
});

test("text, nothing, and names and grants in other forms are refused by code", async () => {
  for (const pem of ["", "hello", chain().replace("MII", "!!!")]) {
    expect(await refusal(pem)).toBe("malformed_certificate: certificate");
  }
  const email = encodeDer(TAG.sequence, encodeDer(0x81, Buffer.from("a@b")));
  const own = new Map([...extensions, ["2.5.29.17", email]]);
  expect(await refusal(chain({ names: [], extensions: own }))).toMatch(/^malformed_certificate: /);
  const octets = new Map([...extensions, ["1.3.9901.2.4.1", encodeDer(TAG.octetString, Buffer.from(WEB_HASH))]]);
  expect(await refusal(chain({ extensions: octets }))).toMatch(/^malformed_certificate: /);
});

test("after a set, certificates of before are refused by who follows it", async () => {
  const before = chain();
  await coordinator.set({});
  const followed = await followDeployment(verified);
  await expect(verifyCertificate(followed, before)).rejects.toMatchObject({ code: "foreign_certificate" });
  expect(await verifyCertificate(followed, chain())).toMatchObject({ policy: WEB_HASH });
  await expect(verifyCertificate({ ...followed }, chain())).rejects.toMatchObject({ code: "invalid_option" });
});
