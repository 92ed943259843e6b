import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pino } from "pino";
import { Clock } from "../../attestation/clock.ts";
import { grantExtensions } from "../../manifest/grant-extensions.ts";
import { generateEcKey, privateKeyPem } from "../../pki/keys.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import {
  makeDeployment,
  startCoordinator,
  type TestCoordinator,
  type TestDeployment,
  until,
  WORKLOAD,
} from "../peers/test-coordinator.ts";
import { coordinatorLimits } from "../serve/limits.ts";
import { issueChain } from "../state/authority.ts";
import { SharedBacking } from "../state/test-shared-store.ts";
import { ask, base64, type ClientFiles, decryptPath, encryptPath } from "./test-transit.ts";
import { TransitPort } from "./transit-port.ts";

/** Several Coordinators of one deployment: whichever a Vault reaches, it is answered alike. */

const ADDRESSES = ["127.44.21.11", "127.44.21.12", "127.44.21.13"];
const now = (): Date => new Date();
let deployment: TestDeployment;
let backing: SharedBacking;
const running: TestCoordinator[] = [];
const ports: TransitPort[] = [];

beforeEach(async () => {
  deployment = await makeDeployment();
  backing = new SharedBacking();
});

afterEach(async () => {
  for (const port of ports.splice(0)) await port.close(0);
  for (const coordinator of running.splice(0)) await coordinator.kill();
  await deployment.remove();
});

async function start(index: number): Promise<TestCoordinator> {
  const address = ADDRESSES[index] ?? "";
  const peers = ADDRESSES.filter((_, other) => other !== index);
  const coordinator = await startCoordinator(deployment, backing.open(), address, { peers });
  running.push(coordinator);
  const limits = coordinatorLimits(256 * 2 ** 20);
  const options = {
    guard: coordinator.guard,
    keys: await generateEcKey("P-256"),
    clock: new Clock({ now, built: () => undefined }),
    now,
    random: randomBytes,
    limits: limits.transit,
    turns: new KeyedSemaphore(limits.turns),
    log: pino({ level: "silent" }),
    answered: () => undefined,
  };
  ports.push(await TransitPort.listen(options, 8200, address));
  return coordinator;
}

async function enroll({ guard }: TestCoordinator): Promise<ClientFiles> {
  const keys = await generateEcKey("P-256");
  const { authority } = guard.active();
  const policy = createHash("sha256").update(WORKLOAD).digest("hex");
  const extensions = grantExtensions({ policy, workloadSecretId: "web" });
  const cert = issueChain(authority, { publicKey: keys.publicKey, names: [], extensions }, now());
  return { cert, key: privateKeyPem(keys.privateKey), ca: authority.meshCa };
}

const isActive = ({ guard }: TestCoordinator): boolean => guard.phase === "active";

test("any of three decrypts what another encrypted, for a certificate of a third", async () => {
  const all = [await start(0), await start(1), await start(2)];
  const [one] = all as [TestCoordinator];
  await one.set();
  await until(() => all.every(isActive));
  for (const [index, issuer] of all.entries()) {
    const client = await enroll(issuer);
    const [at = "", other = ""] = [ADDRESSES[(index + 1) % 3], ADDRESSES[(index + 2) % 3]];
    const encrypted = await ask(at, client, encryptPath("web"), { plaintext: base64("hello") });
    const { ciphertext } = encrypted.body.data ?? {};
    expect((await ask(other, client, decryptPath("web"), { ciphertext })).body.data).toEqual({
      plaintext: base64("hello"),
    });
    const replies = await Promise.all(ADDRESSES.map((address) => ask(address, client, encryptPath("other"), {})));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
  }
});

/** What is in force there may have been replaced: it has the secrets, and serves nothing. */
test("one that is stale says so over its certificate of before, and does nothing", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  const client = await enroll(one);
  two.peers?.stop();
  await two.server.close(0);
  await one.set({ name: "www" });
  // The store shows it at the next look; its peer can't be asked any more.
  await two.guard.observe(backing.pointer, performance.now());
  expect(two.guard.phase).toBe("stale");
  const reply = await ask(ADDRESSES[1] ?? "", client, encryptPath("web"), { plaintext: "" });
  expect(reply.status).toBe(503);
  expect(reply.body.errors).toEqual([expect.stringMatching(/^stale_state: /)]);
  expect(reply.headers["retry-after"]).toBe("1");
});
