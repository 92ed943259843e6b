import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addMethods } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { toStatus } from "../channel/rejection.ts";
import { type ChannelServer, listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { coordinatorLimits } from "../coordinator/serve/limits.ts";
import { createAuthority, issueChain } from "../coordinator/state/authority.ts";
import { generateEcKey } from "../pki/keys.ts";
import { Budget } from "../runtime/budget.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/** An Initializer that stays, as a program, beside a Coordinator: sets, restarts, and one who stands in for the Coordinator. */

const ADDRESS = "127.45.2.1";
const deployment = createCliDeployment(ADDRESS);
const volume = join(deployment.directory, "volume");
const running: Program[] = [];
let coordinator: Program;
let keeper: Program;

function initializer(...words: readonly string[]): Program {
  const program = startProgram(["initializer/main.ts", ...words], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: deployment.file("simulated-tee/web"),
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: volume,
  });
  running.push(program);
  return program;
}

const read = (name: string): string => readFileSync(join(volume, name), "utf8");
const trusted = (): X509Certificate[] =>
  (read("mesh-ca.pem").match(/-----BEGIN [^-]*-----[^-]*-----END [^-]*-----/g) ?? []).map(
    (pem) => new X509Certificate(pem),
  );
const shows = (): string => read("certChain.pem");
const isBy = (ca: X509Certificate | undefined): boolean =>
  ca !== undefined && new X509Certificate(shows()).verify(ca.publicKey);
const WAIT = { timeout: 60_000, interval: 200 };

/** A manifest that grants web a name more. */
async function set(name: string, ...flags: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  deployment.editManifest((manifest) => {
    const policies = Object.values(manifest["Policies"] as Record<string, { SANs: string[] }>);
    policies.find(({ SANs }) => SANs.includes("web"))?.SANs.push(name);
  });
  return deployment.result("set", ...flags);
}

beforeAll(async () => {
  expect((await deployment.generate()).code).toBe(0);
  deployment.editManifest((manifest) => {
    manifest["CertificateLifetime"] = "24h";
    manifest["MeshCAOverlap"] = "1h";
  });
  coordinator = await deployment.startCoordinator("state");
}, 60_000);

afterAll(async () => {
  for (const { child, exited } of running) {
    child.kill("SIGKILL");
    await exited;
  }
  await deployment.remove();
});

test("the application may start when there are certificates, and not before", async () => {
  expect(await initializer("healthcheck").exited).toBe(1);
  keeper = initializer("keep");
  await keeper.line("waiting: no_manifest");
  await deployment.result("set");
  await keeper.line("certificates written");
  const probe = initializer("healthcheck");
  expect(await probe.exited).toBe(0);
  expect(probe.stdout()).toMatch(/^the certificate is valid until 20.*\n$/);
  expect(trusted()).toHaveLength(1);
  // Settings that contradict each other are refused as without the word.
  const wrong = startProgram(["initializer/main.ts", "keep"], { CONTRAST_TLS_CONFIG_DIR: volume });
  expect(await wrong.exited).toBe(2);
}, 60_000);

test("after a set with a window it trusts both, and then changes", async () => {
  const before = shows();
  const [first] = trusted();
  const result = await set("one.example");
  expect(result).toHaveProperty("earlierCertificatesUntil");
  await expect.poll(() => trusted().length, WAIT).toBe(2);
  // The new one first. The one before has its key, and an end.
  expect(trusted()[1]?.publicKey.equals(first?.publicKey ?? expect.unreachable())).toBe(true);
  expect(Number(trusted()[1]?.validToDate)).toBeLessThan(Date.now() + 3_700_000);
  expect(shows()).toBe(before);
  await expect.poll(() => isBy(trusted()[0]), WAIT).toBe(true);
  expect(new X509Certificate(shows()).subjectAltName).toContain("one.example");
}, 120_000);

test("a pod that starts without the word waits, too, and trusts the new mesh CA alone: nobody would take the other away", async () => {
  await set("two.example");
  const other = join(deployment.directory, "once");
  const once = startProgram(["initializer/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: deployment.file("simulated-tee/web"),
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: other,
  });
  running.push(once);
  await once.line("waiting until others have heard of it");
  expect(await once.exited).toBe(0);
  expect(readFileSync(join(other, "mesh-ca.pem"), "utf8").match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
  // Meanwhile the other one has changed.
  await expect.poll(() => isBy(trusted()[0]) && trusted().length === 3, WAIT).toBe(true);
}, 120_000);

test("a set that revokes takes away at once what is trusted", async () => {
  const result = await set("three.example", "--revoke");
  expect(result).toMatchObject({ earlierCertificatesEnded: "the set revokes what was issued before" });
  await expect.poll(() => trusted().length === 1 && isBy(trusted()[0]), WAIT).toBe(true);
}, 60_000);

test("killed and started again it goes on from its files; its set before stays whole", async () => {
  keeper.child.kill("SIGKILL");
  await keeper.exited;
  const before = shows();
  await deployment.stop(coordinator);
  keeper = initializer("keep");
  await keeper.line("the certificates of an earlier run are kept");
  await keeper.line("the certificates stay as they are: unreachable");
  expect(shows()).toBe(before);
  expect(await initializer("healthcheck").exited).toBe(0);
}, 60_000);

test("one who stands in for the Coordinator, with a mesh of its own, is refused by a pod that runs", async () => {
  const before = [shows(), read("mesh-ca.pem"), read("workload-secret-seed")];
  const impostor = await standIn();
  const line = await keeper.line("another_deployment");
  expect(line).toMatchObject({ code: "another_deployment" });
  await impostor.close(0);
  expect([shows(), read("mesh-ca.pem"), read("workload-secret-seed")]).toEqual(before);
}, 90_000);

test("when the Coordinator is recovered the pod renews by itself", async () => {
  const before = shows();
  coordinator = await deployment.startCoordinator("state");
  await deployment.result("recover");
  await expect.poll(shows, { timeout: 90_000 }).not.toBe(before);
  expect(isBy(trusted()[0])).toBe(true);
}, 150_000);

test("told to stop, it ends at once and well, and the certificates stay", async () => {
  const before = shows();
  keeper.child.kill("SIGTERM");
  expect(await keeper.exited).toBe(0);
  expect(shows()).toBe(before);
  expect(readdirSync(volume).filter((name) => name.startsWith("..set-"))).toHaveLength(1);
});

/** Gives everybody a certificate, of another root. */
async function standIn(): Promise<ChannelServer> {
  const limits = coordinatorLimits(2 ** 30);
  const now = new Date();
  const authority = createAuthority(
    {
      rootKey: await generateEcKey("P-384"),
      meshKey: await generateEcKey("P-256"),
      generation: { number: 100, manifest: "ab".repeat(32) },
      certificateLifetimeMs: 86_400_000,
    },
    now,
  );
  return listen(
    {
      identity: await selfSigned(await generateEcKey("P-256"), now),
      attester: await openSimulatedAttester(deployment.file("simulated-tee/coordinator")),
      log: pino({ level: "silent" }),
      limits: limits.mesh,
      requests: new Budget(limits.requests),
      turns: new KeyedSemaphore(limits.turns),
      appraise: async ({ publicKey }) => publicKey,
      serve: (methods, publicKey) => {
        const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
        const handlers = {
          newMeshCert: async () => ({
            certChain: issueChain(
              authority,
              { publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() },
              now,
            ),
            meshCaCert: authority.meshCa,
            rootCaCert: authority.rootCa,
            workloadSecretSeed: Buffer.alloc(32),
          }),
          currentTrust: async () => ({ digest: Buffer.alloc(32) }),
          recover: unasked,
          latest: unasked,
          useFormatGrant: unasked,
        };
        addMethods(methods, MeshAPI, handlers, toStatus);
      },
    },
    7777,
    ADDRESS,
  );
}
