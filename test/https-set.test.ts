import { createHash, generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { spki, spkiDigest } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment } from "./cli-deployment.ts";
import { resultOf } from "./cli-result.ts";
import { HONEST, json, type MeddlingProxy, startMeddlingProxy } from "./meddling-proxy.ts";
import { NO_NGINX, type Nginx, startNginx } from "./nginx.ts";

/** `set` over HTTP: behind a real nginx that terminates TLS, and past a proxy that does what it likes. */

const ADDRESS = "127.108.1.3";
const MEDDLER = "127.108.1.4";

if (NO_NGINX !== undefined) test.skip(`set over https, behind nginx: ${NO_NGINX}`);

let deployment: CliDeployment;
let meddler: MeddlingProxy;
let names = 0;

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  expect((await deployment.generate()).code).toBe(0);
  await deployment.startCoordinator("state");
  meddler = await startMeddlingProxy(MEDDLER, ADDRESS);
});

afterEach(() => {
  meddler.meddle = HONEST;
  meddler.seen.length = 0;
});

afterAll(async () => {
  await meddler.close();
  await deployment.remove();
});

type Pin = Readonly<Record<"Transition" | "MeshCaKey", string>>;
const pin = (): Pin => JSON.parse(deployment.read("pinned.json")) as Pin;
const manifestDigest = () => createHash("sha256").update(deployment.read("manifest.json")).digest("hex");
const signed = ["--signature", "transition.sig"];
const at = (coordinator: string, command: string, ...args: string[]) =>
  deployment.contrastAt(
    { coordinator },
    command,
    ...args.map((arg) => (arg.endsWith(".sig") ? deployment.file(arg) : arg)),
  );
const inForce = async () => (await deployment.result("status"))["manifest"];

/** The owner makes another manifest, and signs it for what is pinned. */
async function sign(change: (manifest: Record<string, unknown>) => unknown = () => undefined): Promise<void> {
  deployment.editManifest((manifest) => {
    change(manifest);
    const { Policies } = manifest;
    for (const policy of Object.values(Policies as Record<string, { SANs: string[]; Role?: string }>)) {
      if (policy.Role !== "coordinator") policy.SANs = [...policy.SANs.slice(0, 1), `name-${names}`];
    }
  });
  names++;
  expect((await deployment.contrastAt({}, "sign")).code).toBe(0);
}

test("the first set, and what nobody signs, need the attested channel", async () => {
  const required = async (what: string, ...args: string[]) => {
    const { code, stderr } = await at(meddler.url, "set", ...args);
    expect(stderr).toMatch(new RegExp(`^error: channel_required: ${what} needs the attested channel`, "m"));
    expect(code).toBe(2);
  };
  await required("`set` without --signature");
  expect((await at(meddler.url, "status")).code).toBe(5);
  await deployment.result("set");
  const before = pin();
  await sign();
  await required("--revoke", ...signed, "--revoke");
  expect(meddler.seen).toEqual([]);
  expect(pin()).toEqual(before);
});

describe.runIf(NO_NGINX === undefined)("set over https, behind nginx", () => {
  let proxy: Nginx;

  beforeAll(async () => {
    proxy = await startNginx(ADDRESS, 8443, `location /mesh/ { proxy_pass http://${ADDRESS}:1314/; }`);
  });

  afterAll(() => proxy.stop());

  const over = (command: string, ...args: string[]) =>
    deployment.contrastAt(
      { coordinator: `${proxy.url}/mesh`, environment: { NODE_EXTRA_CA_CERTS: proxy.certificate } },
      command,
      ...args,
    );

  test("a signed change comes into force, the next can be signed at once, and the workspace knows both", async () => {
    const before = pin();
    const set = await resultOf(0, over("set", "--signature", deployment.file("transition.sig"), "--output", "json"));
    expect(set).toMatchObject({ result: "manifest set", transition: pin().Transition });
    expect(set["next"]).toContain("the mesh has a new CA");
    expect(pin().MeshCaKey).not.toBe(before.MeshCaKey);
    expect(await inForce()).toBe(manifestDigest());
    // Policies that are in the history were not sent again.
    expect(proxy.requests().filter((line) => line.startsWith("POST /mesh/v1/set 200"))).toHaveLength(1);
    await sign();
    expect((await over("set", "--signature", deployment.file("transition.sig"))).code).toBe(0);
    expect(await inForce()).toBe(manifestDigest());
    expect((await over("verify")).code).toBe(0);
    expect(await resultOf(0, over("status", "--output", "json"))).toMatchObject({ state: "active" });
  }, 30_000);
});

test("new seed shares are not served over HTTP, and whoever could need them is told so", async () => {
  const before = deployment.read("pinned.json");
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 4096 });
  const another = toHex(spki(publicKey));
  await sign((manifest) => Object.assign(manifest, { SeedshareOwnerPubKeys: [another] }));
  const set = await at(meddler.url, "set", ...signed);
  expect(set.code, set.stderr).toBe(0);
  expect(set.stderr).toContain("warning: the Coordinator has made new seed shares, which are not served over HTTP");
  writeFileSync(deployment.file("pinned.json"), before);
  const verified = await at(meddler.url, "verify");
  expect(verified.code, verified.stderr).toBe(0);
  expect(verified.stderr).toContain("warning: seed shares were made anew since this workspace's last pin");
  expect((await at(meddler.url, "verify")).stderr).not.toContain("seed shares");
}, 30_000);

test("a change that takes more owners waits, and evidence says that it is not in force", async () => {
  const second = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(deployment.file("second.pem"), second.privateKey.export({ type: "pkcs8", format: "pem" }));
  await sign((manifest) => {
    const { WorkloadOwnerKeyDigests: owners } = manifest as { WorkloadOwnerKeyDigests: string[] };
    owners.push(toHex(spkiDigest(second.publicKey)));
    Object.assign(manifest, { WorkloadOwnerThreshold: 2 });
  });
  expect((await at(meddler.url, "set", ...signed)).code).toBe(0);
  await sign();
  const before = await inForce();
  const pending = await resultOf(6, at(meddler.url, "set", ...signed, "--output", "json"));
  expect(pending).toMatchObject({ "pending manifest": manifestDigest(), "missing signatures": 1 });
  expect(pending["unproven"]).toContain("that the Coordinator keeps it");
  expect(await inForce()).toBe(before);
  const by = ["--workload-owner-key", deployment.file("second.pem")];
  expect((await deployment.contrastAt({}, "sign", ...by)).code).toBe(0);
  expect((await at(meddler.url, "set", ...signed, ...by)).code).toBe(0);
  expect(await inForce()).toBe(manifestDigest());
  // From here on one is enough again.
  await sign((manifest) => Object.assign(manifest, { WorkloadOwnerThreshold: undefined }));
  await at(meddler.url, "set", ...signed);
  expect((await deployment.contrastAt({}, "sign", ...by)).code).toBe(0);
  expect((await at(meddler.url, "set", ...signed, ...by)).code).toBe(0);
}, 60_000);

test("a change that something in between swaps is refused, and is not in force", async () => {
  await sign();
  const before = [await inForce(), deployment.read("pinned.json")];
  const other = deployment.read("manifest.json").replaceAll("name-", "evil-");
  meddler.meddle = (path, body, pass) =>
    path === "/v1/set"
      ? pass(JSON.stringify({ ...JSON.parse(body), manifest: Buffer.from(other).toString("base64") }))
      : pass();
  const { code, stderr } = await at(meddler.url, "set", ...signed);
  expect(stderr).toMatch(/^error: malformed_request: the Coordinator refuses the request: "the permit is for another/m);
  expect(code).toBe(1);
  expect([await inForce(), deployment.read("pinned.json")]).toEqual(before);
}, 30_000);

test("an answer that says what is not so is found out by evidence", async () => {
  const before = [await inForce(), deployment.read("pinned.json")];
  meddler.meddle = async (path, _body, pass) =>
    path === "/v1/set" ? json({ version: 1, outcome: "set", transition: "ab".repeat(32) }) : pass();
  const done = await at(meddler.url, "set", ...signed);
  expect(done.stderr).toMatch(/^error: set_not_confirmed: the answer says that the manifest is set/m);
  expect(done.code).toBe(3);
  meddler.meddle = async (path, _body, pass) =>
    path === "/v1/set"
      ? json({
          version: 1,
          outcome: "pending",
          manifest: manifestDigest(),
          signatures: [{ publicKey: "AAAA", signature: "AAAA" }],
          missing: 1,
          revoke: false,
        })
      : pass();
  const pending = await at(meddler.url, "set", ...signed);
  expect(pending.stderr).toMatch(/^error: unauthorized_history: /m);
  expect(pending.code).toBe(3);
  meddler.meddle = async (path, _body, pass) => (path === "/v1/set" ? json({ outcome: "ok" }) : pass());
  expect((await at(meddler.url, "set", ...signed)).stderr).toMatch(/^error: unexpected_answer: /m);
  expect([await inForce(), deployment.read("pinned.json")]).toEqual(before);
}, 60_000);

test("a change that was made is known, though the answer was lost, or says otherwise", async () => {
  meddler.meddle = async (path, _body, pass) => {
    const reply = await pass();
    if (path !== "/v1/set") return reply;
    const problem = { type: "about:blank", title: "Conflict", status: 409, code: "conflict", detail: "no" };
    return json(problem, 409);
  };
  const { code, stderr } = await at(meddler.url, "set", ...signed);
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/^warning: the manifest is set, although the answer was conflict: /m);
  expect(await inForce()).toBe(manifestDigest());
  await sign();
  meddler.meddle = async (path, _body, pass) => {
    const reply = await pass();
    if (path === "/v1/set") throw new Error("lost");
    return reply;
  };
  const lost = await at(meddler.url, "set", ...signed);
  expect(lost.code, lost.stderr).toBe(0);
  expect(await inForce()).toBe(manifestDigest());
}, 60_000);

test("a change that was made before is not made again, whoever brings it", async () => {
  const { seen } = meddler;
  await sign();
  expect((await at(meddler.url, "set", ...signed)).code).toBe(0);
  const [made] = seen;
  await sign();
  expect((await at(meddler.url, "set", ...signed)).code).toBe(0);
  const before = await inForce();
  const replay = await fetch(`http://${ADDRESS}:1314/v1/set`, {
    method: "POST",
    headers: { "content-type": "application/json", "contrast-permit": String(made?.headers["contrast-permit"]) },
    body: made?.body ?? "",
  });
  expect(replay.status).toBe(403);
  expect(await replay.json()).toMatchObject({ code: "bad_signature" });
  expect(await inForce()).toBe(before);
  // The same from the one who made it: what he follows is there no more.
  expect((await at(meddler.url, "set", ...signed)).stderr).toMatch(/^error: bad_signature: /m);
  const zero = ["--latest-transition", "00".repeat(32)];
  expect((await at(meddler.url, "set", ...signed, ...zero)).stderr).toMatch(/^error: conflict: /m);
}, 60_000);

test("a proxy that shows an old answer, or another deployment's, is refused before anything is sent", async () => {
  await sign();
  let kept: ReturnType<typeof json> | undefined;
  meddler.meddle = async (path, _body, pass) => {
    if (path !== "/v1/attest") return pass();
    kept ??= await pass();
    return kept;
  };
  await at(meddler.url, "verify", "-m", deployment.file("manifest.json"));
  meddler.seen.length = 0;
  const { code, stderr } = await at(meddler.url, "set", ...signed);
  expect(stderr).toMatch(/^error: nonce_mismatch: /m);
  expect(code).toBe(3);
  expect(meddler.seen).toEqual([]);
  expect(readFileSync(deployment.file("transition.sig")).length).toBeGreaterThan(60);
}, 30_000);
