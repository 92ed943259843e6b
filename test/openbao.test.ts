import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createCliDeployment } from "./cli-deployment.ts";
import { bao, type BaoServer, HAS_OPENBAO, NO_OPENBAO, type Seal, startBao } from "./openbao.ts";
import type { Program } from "./programs.ts";

/** OpenBao, the real one, unseals itself by the Coordinator's transit port. The tests go on from one another. */

const ADDRESS = "127.44.20.1";
const BAO = "127.44.20.2:8300";
const deployment = createCliDeployment(ADDRESS);
const { contrast } = deployment;
const volume = (name: string): string => join(deployment.directory, name);

let coordinator: Program;
const servers: BaoServer[] = [];

const seal = (certificates: string): Seal => {
  return { address: ADDRESS, key: "vault_unsealing", certificates: volume(certificates) };
};

function start(certificates: string): BaoServer {
  const server = startBao(volume("bao"), BAO, seal(certificates));
  servers.push(server);
  return server;
}

/** As `kill -9`: at once, without a word. */
async function kill(server: BaoServer): Promise<void> {
  server.child.kill("SIGKILL");
  await server.exited;
}

const client = { BAO_ADDR: `http://${BAO}` };
let token = "";
const owner = () => ({ ...client, BAO_TOKEN: token });

/** The transit port itself, as the pod with these certificates calls it. */
const mesh = (certificates: string) => ({
  BAO_ADDR: `https://${ADDRESS}:8200`,
  BAO_TLS_SERVER_NAME: "coordinator.contrast.internal",
  BAO_CACERT: join(volume(certificates), "mesh-ca.pem"),
  BAO_CLIENT_CERT: join(volume(certificates), "certChain.pem"),
  BAO_CLIENT_KEY: join(volume(certificates), "key.pem"),
});

/** It serves requests: after it was unsealed, it elects itself. */
async function unsealed(server: BaoServer): Promise<void> {
  await server.says("post-unseal setup complete");
  for (;;) {
    const { status: code } = await fetch(`http://${BAO}/v1/sys/health`);
    if (code === 200) return;
    await delay(100);
  }
}

async function readsBack(): Promise<void> {
  expect(await bao(["kv", "get", "-field=password", "shop/db"], owner())).toEqual({ code: 0, output: "correct horse" });
}

async function status(): Promise<Readonly<Record<string, unknown>>> {
  const { output } = await bao(["status", "-format=json"], client);
  return JSON.parse(output) as Readonly<Record<string, unknown>>;
}

const name = (text: string): string => (HAS_OPENBAO ? text : `${text}: ${NO_OPENBAO}`);

beforeAll(async () => {
  if (!HAS_OPENBAO) return;
  const source = readFileSync(join(deployment.directory, "deployment/web.yml"), "utf8");
  const vault = source
    .replaceAll(/\bweb\b/g, "vault")
    .replace(/annotations:/, "annotations:\n        contrast.edgeless.systems/workload-secret-id: vault_unsealing");
  writeFileSync(join(deployment.directory, "deployment/vault.yml"), vault);
  const { code } = await deployment.generate();
  expect(code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  expect((await contrast("set")).code).toBe(0);
  await deployment.enroll("vault", "vault");
  await deployment.enroll("web", "web");
}, 60_000);

afterEach(async () => {
  for (const server of servers.splice(0)) await kill(server);
});

afterAll(() => deployment.remove());

test.skipIf(!HAS_OPENBAO)(name("init, kill, restart: it is unsealed by itself"), async () => {
  const first = start("vault");
  await first.says("OpenBao server started!");
  expect(await status()).toMatchObject({ initialized: false, sealed: true });
  const made = await bao(["operator", "init", "-format=json"], client);
  expect(made.code).toBe(0);
  token = (JSON.parse(made.output) as { readonly root_token: string }).root_token;
  await unsealed(first);
  expect(await bao(["secrets", "enable", "-path=shop", "kv"], owner())).toMatchObject({ code: 0 });
  expect(await bao(["kv", "put", "shop/db", "password=correct horse"], owner())).toMatchObject({ code: 0 });
  await kill(first);
  const second = start("vault");
  await unsealed(second);
  await readsBack();
  await kill(second);
});

test.skipIf(!HAS_OPENBAO)(
  name("with a token it asks to renew it, is told that there is no such path, and goes on"),
  async () => {
    const server = startBao(volume("bao"), BAO, { ...seal("vault"), token: "unused" });
    servers.push(server);
    await unsealed(server);
    const metrics = await (await fetch(`http://${ADDRESS}:9102/metrics`)).text();
    expect(metrics).toContain('contrast_transit_requests_total{operation="other",result="unsupported_path"} 1');
    await readsBack();
    await kill(server);
  },
);

test.skipIf(!HAS_OPENBAO)(name("the certificate of another workload does not unseal it"), async () => {
  const server = start("web");
  expect(await server.exited).not.toBe(0);
  expect(server.output()).toContain("permission denied");
  // The audit log has it, without the name of the key.
  const lines = coordinator
    .stdout()
    .split("\n")
    .filter((line) => line.includes('"api":"transit"'));
  expect(JSON.parse(lines.at(-1) ?? "{}")).toMatchObject({
    event: "request_refused",
    method: "encrypt",
    code: "permission_denied",
    policy: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
  });
  expect(coordinator.stdout()).not.toContain("vault_unsealing");
});

test.skipIf(!HAS_OPENBAO)(
  name("the client of OpenBao encrypts and decrypts, and sees refusals as Vault's"),
  async () => {
    const secured = { ...mesh("vault"), BAO_TOKEN: "" };
    const encrypt = ["write", "-field=ciphertext", "transit/encrypt/vault_unsealing", "plaintext=aGVsbG8="];
    const { output: ciphertext } = await bao(encrypt, secured);
    expect(ciphertext).toMatch(/^vault:v1:[A-Za-z0-9+/]+=*$/);
    const decrypt = ["write", "-field=plaintext", "transit/decrypt/vault_unsealing", `ciphertext=${ciphertext}`];
    expect(await bao(decrypt, secured)).toEqual({ code: 0, output: "aGVsbG8=" });
    for (const certificates of ["vault", "web"]) {
      const other = ["write", "transit/encrypt/other", "plaintext=aGVsbG8="];
      const { code, output } = await bao(other, mesh(certificates));
      expect(code).toBe(2);
      expect(output).toContain("Code: 403. Errors:\n\n* permission denied");
    }
    // The Coordinator serves under one name, which Vault has to ask for.
    const { output } = await bao(encrypt, { ...secured, BAO_TLS_SERVER_NAME: "web" });
    expect(output).toContain("certificate is valid for coordinator.contrast.internal, not web");
  },
);

/** The network leads to a pod that has `*` and its own name, as `generate` gives them. */
test.skipIf(!HAS_OPENBAO)(name("a pod in place of the Coordinator is not believed, and sent nothing"), async () => {
  const [key, cert] = ["key.pem", "certChain.pem"].map((part) => readFileSync(join(volume("web"), part)));
  const asked: string[] = [];
  const pod = createServer({ key, cert, minVersion: "TLSv1.3" }, (request, response) => {
    asked.push(request.url ?? "");
    response.end("{}");
  }).listen(8200, "127.44.20.7");
  const write = ["write", "transit/encrypt/vault_unsealing", "plaintext=aGVsbG8="];
  const { code, output } = await bao(write, { ...mesh("vault"), BAO_ADDR: "https://127.44.20.7:8200" });
  expect(code).not.toBe(0);
  expect(output).toContain("certificate is valid for web, *, not coordinator.contrast.internal");
  expect(asked).toEqual([]);
  pod.close();
});

test.skipIf(!HAS_OPENBAO)(
  name("while the Coordinator is in recovery nothing is unsealed, and the log says why"),
  async () => {
    await deployment.stop(coordinator);
    coordinator = await deployment.startCoordinator("state");
    const server = start("vault");
    expect(await server.exited).not.toBe(0);
    expect(server.output()).toContain(
      "certificate is valid for needs-recovery.coordinator.contrast.internal, not coordinator.contrast.internal",
    );
    const { output } = await bao(["read", "transit/keys/x"], {
      ...mesh("vault"),
      BAO_SKIP_VERIFY: "1",
      BAO_MAX_RETRIES: "0",
    });
    expect(output).toContain(
      "Code: 503. Errors:\n\n* needs_recovery: the Coordinator was restarted and lacks its secrets",
    );
  },
);

test.skipIf(!HAS_OPENBAO)(
  name("after a recovery it unseals with new certificates, and not with those of before"),
  async () => {
    expect((await contrast("recover")).code).toBe(0);
    const before = start("vault");
    expect(await before.exited).not.toBe(0);
    expect(before.output()).toContain("certificate signed by unknown authority");
    await deployment.enroll("vault again", "vault");
    const after = start("vault again");
    await unsealed(after);
    await readsBack();
    await kill(after);
  },
);

/** By what a certificate of the mesh says: a name, the id of its secrets, or the hash of its policy. */
test.skipIf(!HAS_OPENBAO)(name("roles of the auth method cert match certificates of the mesh"), async () => {
  await deployment.enroll("web again", "web");
  const server = startBao(volume("bao"), BAO, { ...seal("vault again"), tls: true });
  servers.push(server);
  await server.says("OpenBao server started!");
  const tls = (certificates: string) => ({
    ...mesh(certificates),
    BAO_ADDR: `https://${BAO}`,
    BAO_TLS_SERVER_NAME: "vault",
  });
  const asOwner = async (...args: readonly string[]): Promise<string> => {
    const { code, output } = await bao(args, { ...tls("vault again"), BAO_TOKEN: token });
    expect(output).toContain("Success!");
    expect(code).toBe(0);
    return output;
  };
  await expect.poll(async () => (await bao(["status"], tls("vault again"))).code, { timeout: 20_000 }).toBe(0);
  await expect
    .poll(async () => (await bao(["auth", "enable", "cert"], { ...tls("vault again"), BAO_TOKEN: token })).output, {
      timeout: 20_000,
    })
    .toMatch(/Success!|path is already in use/);
  const policies = JSON.parse(deployment.read("manifest.json")) as {
    readonly Policies: Readonly<
      Record<string, { readonly SANs: readonly string[]; readonly WorkloadSecretID?: string }>
    >;
  };
  const [hash = "", entry] = Object.entries(policies.Policies).find(([, { SANs }]) => SANs.includes("web")) ?? [];
  const roles = {
    name: "allowed_dns_sans=web",
    id: `required_extensions=1.3.9901.2.4.2:${entry?.WorkloadSecretID}`,
    policy: `required_extensions=1.3.9901.2.4.1:${hash}`,
  };
  const ca = join(volume("web again"), "mesh-ca.pem");
  for (const [role, match] of Object.entries(roles)) {
    await asOwner("write", `auth/cert/certs/${role}`, `certificate=@${ca}`, "token_policies=default", match);
    const login = (certificates: string) =>
      bao(["login", "-method=cert", "-token-only", `name=${role}`], tls(certificates));
    expect(await login("web again"), role).toMatchObject({ code: 0, output: expect.stringMatching(/^s\./) as string });
    // Another workload of the same mesh, and a certificate of the mesh CA of before the recovery.
    const trusting = (certificates: string) => ({ ...tls(certificates), BAO_CACERT: ca });
    for (const certificates of ["vault again", "web"]) {
      const refused = await bao(["login", "-method=cert", `name=${role}`], trusting(certificates));
      expect(refused.code, `${role} ${certificates}`).toBe(2);
      expect(refused.output).toMatch(/no chain matching all constraints|invalid certificate/);
    }
  }
});
