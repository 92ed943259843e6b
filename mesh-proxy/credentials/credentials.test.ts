import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../../pki/test-mesh.ts";
import { loadCredentials, withoutEnded } from "./credentials.ts";
import { MeshProxyError } from "../faults.ts";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

async function folder(): Promise<string> {
  const path = await writeTlsConfig(mesh, workload);
  onTestFinished(async () => rm(path, { recursive: true }));
  return path;
}

async function refusal(path: string): Promise<MeshProxyError> {
  const error: unknown = await loadCredentials(path, new Date(), createSecureContext).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (error instanceof MeshProxyError) return error;
  throw new Error("not refused", { cause: error });
}

test("what the Initializer wrote is read", async () => {
  const credentials = await loadCredentials(await folder(), new Date());
  expect(credentials.certChain).toBe(workload.certChain);
  expect(credentials.meshCa).toBe(mesh.meshCa);
  expect(String(credentials.key.reveal())).toBe(workload.key);
  expect(JSON.stringify(credentials)).not.toContain("PRIVATE KEY");
});

test.each(["certChain.pem", "key.pem", "mesh-ca.pem"])("a missing %s is named", async (name) => {
  const path = await folder();
  await rm(join(path, name));
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: join(path, name), got: "ENOENT" });
});

test.each([
  ["certChain.pem", "", "no certificate"],
  ["certChain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "a certificate that can't be read"],
  ["mesh-ca.pem", "hello", "no certificate"],
  ["key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no private key that can be read"],
])("a broken %s is named: %j", async (name, text, got) => {
  const path = await folder();
  await writeFile(join(path, name), text);
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: join(path, name), got });
});

test("a key that is not the leaf's is refused", async () => {
  const path = await folder();
  const other = await mesh.issue();
  await writeFile(join(path, "key.pem"), other.key);
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: join(path, "key.pem") });
});

test("a CA that did not sign the leaf is refused", async () => {
  const path = await folder();
  await writeFile(join(path, "mesh-ca.pem"), (await createMesh()).meshCa);
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: join(path, "mesh-ca.pem") });
});

test("the root CA in the mesh CA's place is refused, although the chain leads to it", async () => {
  const path = await folder();
  await writeFile(join(path, "mesh-ca.pem"), mesh.rootCa);
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: join(path, "mesh-ca.pem") });
});

test("a chain with a rest that OpenSSL can't read is refused", async () => {
  const path = await folder();
  await writeFile(join(path, "certChain.pem"), `${workload.certChain}-----BEGIN CERTIFICATE-----\nAAAA\n`);
  expect(await refusal(path)).toMatchObject({ code: "certificates", where: path });
});

test("mesh CAs of before are trusted until they end, and the leaf may be of one of them", async () => {
  const path = await folder();
  const next = await createMesh();
  const hour = 3_600_000;
  const until = (ms: number): Date => new Date(Date.now() + ms);
  // All of them end after two hours.
  await writeFile(join(path, "mesh-ca.pem"), next.meshCa + mesh.meshCa);
  const credentials = await loadCredentials(path, until(0), createSecureContext);
  expect(credentials.meshCa).toBe(next.meshCa + mesh.meshCa);
  expect(Number(credentials.trustEnds)).toBeGreaterThan(Date.now() + 1.9 * hour);
  expect(withoutEnded(credentials, until(hour))).toBe(credentials);
  expect(withoutEnded(credentials, until(3 * hour))).toMatchObject({ meshCa: next.meshCa, trustEnds: undefined });
  await expect(loadCredentials(path, until(3 * hour))).rejects.toMatchObject({
    where: join(path, "mesh-ca.pem"),
    got: "a CA that did not sign the leaf of certChain.pem",
  });
});

test("more than three mesh CAs of before are refused", async () => {
  const path = await folder();
  const others = await Promise.all([1, 2, 3, 4].map(async () => (await createMesh()).meshCa));
  await writeFile(join(path, "mesh-ca.pem"), [mesh.meshCa, ...others].join(""));
  expect(await refusal(path)).toMatchObject({ code: "certificates", got: "5 certificates" });
  await writeFile(join(path, "mesh-ca.pem"), [mesh.meshCa, ...others.slice(1)].join(""));
  await loadCredentials(path, new Date(), createSecureContext);
});
