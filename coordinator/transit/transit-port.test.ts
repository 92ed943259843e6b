import { X509Certificate } from "node:crypto";
import { Agent } from "node:https";
import { afterAll, beforeAll, expect, test } from "vitest";
import { generateEcKey, privateKeyPem } from "../../pki/keys.ts";
import { issueLeaf } from "../../pki/certificate.ts";
import { grantExtensions } from "../../manifest/grant-extensions.ts";
import {
  base64,
  type ClientFiles,
  decryptPath,
  encryptPath,
  type Entries,
  hashOf,
  type Reply,
  startTransit,
  type TestTransit,
  WORKLOADS,
} from "./test-transit.ts";

/** What the transit port answers to whom, as what is in force changes. Over real TLS; the clients are Node's. */

const ADDRESS = "127.44.21.1";
const VAULT = "vault_unsealing";
const SHOP = "apps/v1/Deployment/shop/web";
let transit: TestTransit;
let vault: ClientFiles;
let shop: ClientFiles;

beforeAll(async () => {
  transit = await startTransit(ADDRESS);
  await transit.set();
  [vault, shop] = await Promise.all([transit.enroll("vault"), transit.enroll("shop")]);
});

afterAll(() => transit.remove());

const encrypt = async (client: ClientFiles, id: string, text: string): Promise<string> => {
  const { body } = await transit.ask(client, encryptPath(id), { plaintext: base64(text) });
  return String(body.data?.["ciphertext"]);
};
const decrypt = (client: ClientFiles, id: string, ciphertext: string): Promise<Reply> =>
  transit.ask(client, decryptPath(id), { ciphertext });

const DENIED = { status: 403, text: '{"errors":["permission denied"]}\n' };
const UNTRUSTED = {
  status: 403,
  body: { errors: ["permission denied: the client's certificate is not one of the mesh CA in force"] },
};

test("a workload encrypts and decrypts by its own key, and the answer is Vault's", async () => {
  const reply = await transit.ask(vault, encryptPath(VAULT), { plaintext: base64("hello") });
  expect(reply).toMatchObject({
    status: 200,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
    body: {
      request_id: expect.stringMatching(
        /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      ) as string,
      lease_id: "",
      renewable: false,
      lease_duration: 0,
      data: { ciphertext: expect.stringMatching(/^vault:v1:/) as string, key_version: 1 },
      wrap_info: null,
      warnings: null,
      auth: null,
    },
  });
  const ciphertext = String(reply.body.data?.["ciphertext"]);
  for (const method of ["POST", "PUT"]) {
    const { body } = await transit.ask(vault, decryptPath(VAULT), { ciphertext }, { method });
    expect(body.data).toEqual({ plaintext: base64("hello") });
  }
  expect(await encrypt(vault, VAULT, "hello")).not.toBe(ciphertext);
  // Its id has slashes, as those that `generate` gives.
  const { body } = await decrypt(shop, SHOP, await encrypt(shop, SHOP, "shop"));
  expect(body.data).toEqual({ plaintext: base64("shop") });
  // As a client that escapes them sends it.
  const escaped = await transit.ask(shop, encryptPath(encodeURIComponent(SHOP)), { plaintext: "" });
  expect(escaped.status).toBe(200);
});

test("a key of somebody else and a key of nobody are one answer, byte by byte", async () => {
  const bare = await transit.enroll("bare");
  const ciphertext = await encrypt(vault, VAULT, "hello");
  const replies: Reply[] = [];
  for (const [client, id] of [
    [vault, SHOP],
    [vault, "nobody"],
    [shop, VAULT],
    [shop, "nobody"],
    [bare, VAULT],
    [bare, "bare"],
  ] as const) {
    for (const path of [encryptPath(id), decryptPath(id)]) {
      for (const body of [{ ciphertext }, { plaintext: "aGVsbG8=" }, "no json", undefined]) {
        replies.push(await transit.ask(client, path, body));
      }
    }
  }
  for (const reply of replies) expect(reply).toMatchObject(DENIED);
  const heads = replies.map(({ headers }) => JSON.stringify({ ...headers, date: undefined, connection: undefined }));
  expect(new Set(heads).size).toBe(1);
});

test.for([
  "VAULT_UNSEALING",
  "vault_unsealing/",
  "/vault_unsealing",
  "vault_unsealing%00",
  "vault_unsealing%20",
  "..%2fencrypt%2fvault_unsealing",
  "%2e%2e/encrypt/vault_unsealing",
  "../encrypt/vault_unsealing",
  "./vault_unsealing",
  "vault_unsealing;x",
  "vault_unsealing%2500",
])("%s is no spelling of its key", async (id) => {
  expect(await transit.ask(vault, encryptPath(id), { plaintext: "" })).toMatchObject(DENIED);
});

test("a ciphertext of another key, version or deployment is not decrypted", async () => {
  const [mine, theirs] = [await encrypt(vault, VAULT, "mine"), await encrypt(shop, SHOP, "theirs")];
  const refused = (message: string) => ({ status: 400, body: { errors: [message] } });
  const notAuthentic = refused("cipher: message authentication failed");
  expect(await decrypt(vault, VAULT, theirs)).toMatchObject(notAuthentic);
  expect(await decrypt(vault, VAULT, mine.replace("v1", "v2"))).toMatchObject(
    refused("invalid ciphertext: version is too new"),
  );
  const other = await startTransit("127.44.21.2");
  await other.set();
  const client = await other.enroll("vault");
  const { body } = await other.ask(client, encryptPath(VAULT), { plaintext: base64("x") });
  expect(await decrypt(vault, VAULT, String(body.data?.["ciphertext"]))).toMatchObject(notAuthentic);
  // And a certificate of it is a stranger's.
  const asked = await transit.ask({ ...client, ca: vault.ca }, encryptPath(VAULT), { plaintext: "" });
  expect(asked).toMatchObject(UNTRUSTED);
  await other.remove();
});

test("who shows no certificate, or one that is not below the mesh CA in force, is told so and gets nothing", async () => {
  const { authority } = transit.guard().active();
  const keys = await generateEcKey("P-256");
  const granted = { policy: hashOf("vault"), workloadSecretId: VAULT };
  const leaf = (issuer: { name: string; key: typeof keys }, notAfter = new Date(Date.now() + 3_600_000)) =>
    issueLeaf({
      subject: "vault",
      publicKey: keys.publicKey,
      issuer,
      names: [],
      notBefore: new Date(Date.now() - 7_200_000),
      notAfter,
      extensions: grantExtensions(granted),
    });
  const key = privateKeyPem(keys.privateKey);
  const ask = (cert: string) => transit.ask({ cert, key, ca: vault.ca }, encryptPath(VAULT), { plaintext: "" });
  const byMesh = { name: "Contrast mesh CA", key: authority.meshKey };
  expect((await ask(leaf(byMesh))).status).toBe(200);
  expect(await transit.ask({ ca: vault.ca }, encryptPath(VAULT), { plaintext: "" })).toMatchObject({
    status: 403,
    body: { errors: ["permission denied: the client shows no certificate"] },
    headers: { connection: "close" },
  });
  // Self-signed under any name, by the root, by the key of a leaf, and as a leaf of a leaf.
  expect(await ask(leaf({ name: "Contrast mesh CA", key: keys }))).toMatchObject(UNTRUSTED);
  expect(await ask(leaf({ name: "Contrast root CA", key: authority.rootKey }) + authority.rootCa)).toMatchObject(
    UNTRUSTED,
  );
  expect(await ask(leaf({ name: "vault", key: keys }) + vault.cert)).toMatchObject(UNTRUSTED);
  expect(await ask(leaf(byMesh, new Date(Date.now() - 60_000)))).toMatchObject({
    status: 403,
    body: { errors: ["permission denied: the client's certificate is not valid now"] },
  });
  // Nobody but the Coordinator has the mesh key; but what a leaf says is compared with the manifest all the same.
  const ungrantedMessage = "permission denied: the client's certificate is not what the manifest in force grants";
  const notGranted = { status: 403, body: { errors: [ungrantedMessage] } };
  const ungranted = await transit.enroll("vault", { granted: { policy: "ff".repeat(32), workloadSecretId: VAULT } });
  expect(await transit.ask(ungranted, encryptPath(VAULT), { plaintext: "" })).toMatchObject(notGranted);
  const stranger = await transit.enroll("vault", { granted: { policy: hashOf("shop"), workloadSecretId: VAULT } });
  expect(await transit.ask(stranger, encryptPath(VAULT), { plaintext: "" })).toMatchObject(notGranted);
  const old = issueLeaf({
    subject: "vault",
    publicKey: keys.publicKey,
    issuer: byMesh,
    names: [],
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
  });
  expect(await ask(old)).toMatchObject({
    status: 403,
    body: { errors: [expect.stringContaining("names no policy: an earlier version issued it") as string] },
  });
  const ca = await ask(authority.meshCa).catch((error: Error) => error);
  expect(ca).toBeInstanceOf(Error);
});

test("a certificate that expires while its connection lasts is refused on it", async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = () => transit.ask(vault, encryptPath(VAULT), { plaintext: "" }, { agent });
  expect((await ask()).status).toBe(200);
  transit.ahead = new X509Certificate(vault.cert).validToDate.getTime() - Date.now() + 1000;
  expect(await ask()).toMatchObject({ status: 403, headers: { connection: "close" } });
  transit.ahead = 0;
  agent.destroy();
});

test("the versions are the manifest's: the latest encrypts, and below the minimum nothing is decrypted", async () => {
  const first = await encrypt(vault, VAULT, "first");
  const entries = (LatestVersion: number, MinimumVersion: number): Entries => {
    return { ...WORKLOADS, vault: { id: VAULT, transit: { LatestVersion, MinimumVersion } } };
  };
  const again = async (latest: number, minimum: number): Promise<ClientFiles> => {
    await transit.set(entries(latest, minimum));
    return transit.enroll("vault");
  };
  let client = await again(2, 1);
  const second = await encrypt(client, VAULT, "second");
  expect(second).toMatch(/^vault:v2:/);
  expect((await decrypt(client, VAULT, first)).body.data).toEqual({ plaintext: base64("first") });
  client = await again(2, 2);
  expect((await decrypt(client, VAULT, second)).body.data).toEqual({ plaintext: base64("second") });
  const refused = (message: string) => ({ status: 400, body: { errors: [message] } });
  const tooOld = refused("ciphertext or signature version is disallowed by policy (too old)");
  expect(await decrypt(client, VAULT, first)).toMatchObject(tooOld);
  // The number is in the additional data, and the key is another.
  expect((await decrypt(client, VAULT, first.replace("v1", "v2"))).status).toBe(400);
  const byVersion = (key_version: number) => transit.ask(client, encryptPath(VAULT), { plaintext: "", key_version });
  expect((await byVersion(0)).body.data).toMatchObject({ key_version: 2 });
  expect((await byVersion(2)).body.data).toMatchObject({ key_version: 2 });
  expect(await byVersion(1)).toMatchObject(
    refused("requested version for encryption is lower than the minimum encryption key version"),
  );
  expect(await byVersion(3)).toMatchObject(
    refused("requested version for encryption is higher than the latest key version"),
  );
  client = await again(1, 1);
  expect((await decrypt(client, VAULT, second)).status).toBe(400);
  expect((await decrypt(client, VAULT, first)).body.data).toEqual({ plaintext: base64("first") });
});

test("a set ends connections of before, and their certificates count no more, whatever overlap others allow", async () => {
  await transit.set(WORKLOADS, { overlap: "1h" });
  const before = await transit.enroll("vault");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (client: ClientFiles) => transit.ask(client, encryptPath(VAULT), { plaintext: "" }, { agent });
  expect((await ask(before)).status).toBe(200);
  const [socket] = Object.values(agent.freeSockets).flat();
  const closed = new Promise((resolve) => socket?.once("close", resolve));
  await transit.set(WORKLOADS, { overlap: "1h" });
  await closed;
  expect(transit.guard().active().previousMeshes).not.toHaveLength(0);
  // It trusts the CA of before, and so not the Coordinator's certificate any more.
  await expect(ask(before)).rejects.toThrow(/signature|self-signed|verif|issuer/i);
  const { meshCa } = transit.guard().active().authority;
  expect(await ask({ ...before, ca: meshCa })).toMatchObject(UNTRUSTED);
  expect((await ask(await transit.enroll("vault"))).status).toBe(200);
  agent.destroy();
});

test("keys are the same after an update and after a recovery", async () => {
  const client = await transit.enroll("vault");
  const ciphertext = await encrypt(client, VAULT, "kept");
  await transit.set({ ...WORKLOADS, another: { id: "another" } });
  expect((await decrypt(await transit.enroll("vault"), VAULT, ciphertext)).body.data).toEqual({
    plaintext: base64("kept"),
  });
  await transit.restart();
  await transit.recover();
  expect((await decrypt(await transit.enroll("vault"), VAULT, ciphertext)).body.data).toEqual({
    plaintext: base64("kept"),
  });
});

test("after a rekey what was encrypted before is read as long as the window is open, and encrypted anew", async () => {
  const before = await encrypt(await transit.enroll("vault"), VAULT, "old");
  await transit.set(WORKLOADS, { rekey: true, secretOverlap: "1h" });
  const client = await transit.enroll("vault");
  expect((await decrypt(client, VAULT, before)).body.data).toEqual({ plaintext: base64("old") });
  const after = await encrypt(client, VAULT, "new");
  expect((await decrypt(client, VAULT, after)).body.data).toEqual({ plaintext: base64("new") });
  // Another's key is another's under an earlier seed, too.
  const theirs = await transit.enroll("shop");
  expect((await decrypt(theirs, SHOP, before)).status).toBe(400);
  transit.ahead = 3_600_000;
  expect(await decrypt(client, VAULT, before)).toMatchObject({
    status: 400,
    body: { errors: ["cipher: message authentication failed"] },
  });
  expect((await decrypt(client, VAULT, after)).body.data).toEqual({ plaintext: base64("new") });
  transit.ahead = 0;
});

test("without a window a rekey ends what was encrypted before, at once", async () => {
  const before = await encrypt(await transit.enroll("vault"), VAULT, "old");
  await transit.set(WORKLOADS, { rekey: true });
  expect((await decrypt(await transit.enroll("vault"), VAULT, before)).status).toBe(400);
});

test("nothing that is refused is in the log or in what is told of it, and names of keys least of all", async () => {
  transit.answered.splice(0);
  const client = await transit.enroll("vault");
  await transit.ask(client, encryptPath("a-strangers-secret-name"), { plaintext: base64("marrow") });
  await transit.ask(client, decryptPath(VAULT), { ciphertext: "vault:v1:bWFycm93bWFycm93bWFycm93bWFycm93bWFycm93" });
  await encrypt(client, VAULT, "marrow");
  expect(transit.answered).toMatchObject([
    { operation: "encrypt", result: "permission_denied", policy: hashOf("vault") },
    { operation: "decrypt", result: "ciphertext_not_authentic", policy: hashOf("vault") },
    { operation: "encrypt", result: "ok", policy: hashOf("vault") },
  ]);
  const said = JSON.stringify([transit.answered, transit.log]);
  for (const secret of ["marrow", "bWFycm93", "a-strangers-secret-name"]) expect(said).not.toContain(secret);
});
