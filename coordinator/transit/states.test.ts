import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { HostileStore, makeUp } from "../state/test-hostile-host.ts";
import { changeAfter, ownerKeys, signedBy } from "../test-deployment.ts";
import { encryptPath, manifestOf, policyOf, startTransit, type TestTransit } from "./test-transit.ts";

/** What the transit port shows and answers while it can't serve. */

const ADDRESS = "127.44.21.3";
let transit: TestTransit;

beforeAll(async () => {
  transit = await startTransit(ADDRESS);
});

afterAll(() => transit.remove());

/** The certificate that the port shows to anybody. */
async function shown(): Promise<X509Certificate> {
  const socket = connect({
    host: ADDRESS,
    port: 8200,
    rejectUnauthorized: false,
    servername: "coordinator.contrast.internal",
  });
  await once(socket, "secureConnect");
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  if (certificate === undefined) throw new Error("it shows none");
  return certificate;
}

async function expectUnavailable(code: string, text = `${code}: `): Promise<void> {
  for (const [method, path] of [
    ["POST", encryptPath("vault_unsealing")],
    ["GET", "/"],
    ["GET", "/v1/sys/health"],
  ] as const) {
    const reply = await transit.ask({}, path, undefined, { method, insecure: true });
    expect(reply).toMatchObject({ status: 503, headers: { connection: "close", "content-type": "application/json" } });
    expect(reply.body.errors).toEqual([expect.stringMatching(new RegExp(`^${text}`))]);
  }
}

test("without a manifest it says so by the name of its certificate, and to whoever does not look at that", async () => {
  const certificate = await shown();
  expect(certificate.subjectAltName).toBe("DNS:no-manifest.coordinator.contrast.internal");
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.checkHost("coordinator.contrast.internal")).toBeUndefined();
  await expectUnavailable("no_manifest");
  await expect(transit.ask({ ca: certificate.toString() }, encryptPath("x"), {})).rejects.toThrow(
    "Host: coordinator.contrast.internal. is not in the cert's altnames: DNS:no-manifest.coordinator.contrast.internal",
  );
});

test("with one it shows a certificate of the mesh CA for its one name", async () => {
  await transit.set();
  const certificate = await shown();
  const { authority } = transit.guard().active();
  expect(certificate.subjectAltName).toBe("DNS:coordinator.contrast.internal");
  expect(certificate.verify(authority.meshKey.publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
});

test("its certificate is replaced before it expires, and connections go on", async () => {
  const before = await shown();
  const { validFromDate, validToDate } = before;
  const client = await transit.enroll("vault");
  transit.ahead = (validToDate.getTime() - validFromDate.getTime()) / 2;
  // A look is due every ten seconds; any change of state is one, too.
  transit.guard().look();
  const agentless = await transit.ask(client, encryptPath("vault_unsealing"), { plaintext: "" });
  expect(agentless.status).toBe(200);
  transit.ahead = 0;
});

test("in recovery it says so, and a connection of before is gone", async () => {
  const client = await transit.enroll("vault");
  await transit.restart();
  const certificate = await shown();
  expect(certificate.subjectAltName).toBe("DNS:needs-recovery.coordinator.contrast.internal");
  await expectUnavailable("needs_recovery");
  // With a certificate, too: nobody can say any more whether it counts.
  const reply = await transit.ask(client, encryptPath("vault_unsealing"), { plaintext: "" }, { insecure: true });
  expect(reply.status).toBe(503);
  await transit.recover();
  expect((await shown()).subjectAltName).toBe("DNS:coordinator.contrast.internal");
  expect(
    (
      await transit.ask(
        { ...client, ca: transit.guard().active().authority.meshCa },
        encryptPath("vault_unsealing"),
        {},
      )
    ).status,
  ).toBe(403);
});

test("a clock before the manifest is no clock to serve by", async () => {
  const client = await transit.enroll("vault");
  const { validity } = transit.guard().active().authority;
  transit.ahead = validity.notAfter.getTime() - Date.now() + 60_000;
  const reply = await transit.ask(client, encryptPath("vault_unsealing"), { plaintext: "" });
  expect(reply).toMatchObject({ status: 403 });
  transit.ahead = 0;
});

/** An earlier version set it, with the leave of the owners: a Coordinator that could not read it would be lost. */
test("a stored manifest with a name of the Coordinator's is recovered, and the port serves nobody before the next", async () => {
  const { snapshot } = await transit.set();
  const entries = { vault: { id: "vault_unsealing", sans: ["vault", "*.contrast.internal"] } };
  const change = changeAfter(snapshot, manifestOf(entries));
  await makeUp(new HostileStore(transit.directory), snapshot.seed, snapshot.latest, {
    manifest: change.manifest,
    policies: [policyOf("vault")],
    seedShares: snapshot.seedShares,
    meshKey: toHex(change.meshKey),
    signatures: [signedBy(ownerKeys, change)],
  });
  await transit.restart();
  await transit.recover();
  expect(transit.guard().phase).toBe("active");
  expect(transit.guard().active().generation).toBe(snapshot.generation + 1);
  expect((await shown()).subjectAltName).toBe("DNS:reserved-name.coordinator.contrast.internal");
  await expectUnavailable("reserved_name", "the manifest in force has a SAN that is the Coordinator's: ");
  await transit.set();
  expect((await shown()).subjectAltName).toBe("DNS:coordinator.contrast.internal");
});

test("a set with such a name is refused", async () => {
  for (const name of ["coordinator.contrast.internal", "*.contrast.internal", "*.internal", "CONTRAST.internal"]) {
    const refused = transit.set({ vault: { id: "vault_unsealing", sans: ["web", name] } });
    await expect(refused).rejects.toMatchObject({ code: "invalid_manifest", got: name });
  }
  await transit.set({ vault: { id: "vault_unsealing", sans: ["*", "coordinator", "x.internal"] } });
});
