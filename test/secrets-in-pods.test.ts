import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { addMethods } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { toStatus } from "../channel/rejection.ts";
import { type ChannelServer, listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { coordinatorLimits } from "../coordinator/serve/limits.ts";
import { type Authority, createAuthority, issueChain } from "../coordinator/state/authority.ts";
import { generateEcKey } from "../pki/keys.ts";
import { trustDigest } from "../pki/trust-digest.ts";
import { Budget } from "../runtime/budget.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { printTemplates } from "../secret-files/templates-variable.ts";
import { makeMemoryGroup } from "./memory-group.ts";
import { type Program, startProgram } from "./programs.ts";

/**
 * Initializers, as programs, beside one who gives them secrets as a test says: what a Coordinator would, and what it never
 * would.
 */

const ADDRESS = "127.43.16.1";
const SEED = Buffer.alloc(32, 7);
/** In every value: no program may say it. */
const MARK = "hunter2-which-nobody-may-read";
const WAIT = { timeout: 60_000, interval: 100 };

interface Given {
  readonly name: string;
  readonly version: number;
  readonly value: Uint8Array;
}

const secret = (name: string, version: number, value: string | Uint8Array = `${MARK} ${name} ${version}`): Given => {
  return { name, version, value: Buffer.from(value) };
};

/** As large as the limit of the container. */
const group = existsSync("/dev/shm") ? makeMemoryGroup(128 * 1024 * 1024) : undefined;

let directory: string;
let volume: string;
let server: ChannelServer;
let authority: Authority;
let given: readonly Given[] = [];
let annex = 0;
let enrolled = 0;
const running: Program[] = [];

/** Other secrets, by another annex. */
function give(...secrets: readonly Given[]): void {
  given = secrets;
  annex++;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "secrets-in-pods-test-"));
  const now = new Date();
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now);
  await vendor.launch(join(directory, "vm"), { hostData: Buffer.alloc(32) });
  authority = createAuthority(
    {
      rootKey: await generateEcKey("P-384"),
      meshKey: await generateEcKey("P-256"),
      generation: { number: 1, manifest: "ab".repeat(32) },
      certificateLifetimeMs: 86_400_000,
    },
    now,
  );
  const limits = coordinatorLimits(2 ** 30);
  server = await listen(
    {
      identity: await selfSigned(await generateEcKey("P-256"), now),
      attester: await openSimulatedAttester(join(directory, "vm")),
      log: pino({ level: "silent" }),
      limits: limits.mesh,
      requests: new Budget(limits.requests),
      turns: new KeyedSemaphore(limits.turns),
      appraise: async ({ publicKey }) => publicKey,
      serve: (methods, publicKey) => {
        const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
        const annexDigest = (): Buffer => Buffer.alloc(32, annex);
        const names = [{ kind: "dns", value: "web" }] as const;
        const handlers = {
          newMeshCert: async () => {
            enrolled++;
            return {
              certChain: issueChain(authority, { publicKey, names, extensions: new Map() }, new Date()),
              meshCaCert: authority.meshCa,
              rootCaCert: authority.rootCa,
              workloadSecretSeed: SEED,
              workloadSecretVersion: 1,
              secrets: [...given],
              annex: annexDigest(),
            };
          },
          currentTrust: async () => ({ digest: trustDigest([authority.meshCa]), annex: annexDigest() }),
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
}, 60_000);

beforeEach(() => {
  volume = mkdtempSync(join(directory, "volume-"));
  enrolled = 0;
});

afterEach(async () => {
  for (const { child, exited, log, text, stdout } of running.splice(0)) {
    child.kill("SIGKILL");
    await exited;
    const said = [...log.map((line) => JSON.stringify(line)), ...text, stdout()].join("\n");
    expect(said).not.toContain(MARK.slice(0, 12));
    expect(said).not.toContain(Buffer.from(MARK).toString("base64").slice(0, 12));
    expect(said).not.toContain(Buffer.from(MARK).toString("hex").slice(0, 12));
    expect(said).not.toContain(SEED.toString("hex").slice(0, 16));
  }
});

afterAll(async () => {
  await server.close(0);
  group?.remove();
  rmSync(directory, { recursive: true });
});

function initializer(
  environment: Readonly<Record<string, string>> = {},
  templates: Readonly<Record<string, string>> = {},
  word?: string,
  within?: readonly string[],
): Program {
  const variables = {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm"),
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: volume,
    CONTRAST_LOG_LEVEL: "debug",
    ...(Object.keys(templates).length > 0 && { CONTRAST_SECRET_TEMPLATES: printTemplates(templates) }),
    ...environment,
  };
  const words = word === undefined ? [] : [word];
  const program = startProgram(["initializer/main.ts", ...words], variables, within);
  running.push(program);
  return program;
}

const keep = (templates: Readonly<Record<string, string>> = {}): Program => initializer({}, templates, "keep");
const read = (name: string): string => readFileSync(join(volume, name), "utf8");
const secretNames = (): string[] => readdirSync(join(volume, "secrets")).toSorted();
const visible = (): string[] => readdirSync(volume).filter((name) => !name.startsWith(".."));

test("secrets and files of templates lie in the volume, readable for whom the key is", async () => {
  const binary = Buffer.concat([Buffer.from([0xff, 0]), Buffer.from(MARK)]);
  give(secret("db", 3), secret("db", 2), secret("blob", 1, binary));
  const program = initializer(
    { CONTRAST_KEY_MODE: "0440" },
    { "app.conf": 'pw={{ secret "db" | json }}\nblob={{ secret "blob" | base64 }}\n' },
  );
  expect(await program.exited).toBe(0);
  expect(secretNames()).toEqual(["app.conf", "blob", "blob@1", "db", "db@2", "db@3", "workload-secret-seed"]);
  expect(read("secrets/db")).toBe(`${MARK} db 3`);
  expect(read("secrets/db@3")).toBe(`${MARK} db 3`);
  expect(read("secrets/db@2")).toBe(`${MARK} db 2`);
  expect(readFileSync(join(volume, "secrets/blob"))).toEqual(binary);
  expect(read("secrets/app.conf")).toBe(`pw="${MARK} db 3"\nblob=${binary.toString("base64")}\n`);
  for (const name of secretNames()) expect(statSync(join(volume, "secrets", name)).mode & 0o777, name).toBe(0o440);
  // As elsewhere, where the volume is mounted at /contrast.
  expect(read("secrets/workload-secret-seed")).toBe(read("workload-secret-seed"));
  expect(read("tls-config/key.pem")).toBe(read("key.pem"));
  expect(readlinkSync(join(volume, "secrets"))).toBe("..data/secrets");
}, 60_000);

test("a secret that a template lacks is waited for, by name, and then the pod starts", async () => {
  give(secret("db", 1));
  const program = initializer({}, { "app.conf": '{{ secret "db" }}:{{ secret "api" }}' });
  const line = await program.line("waiting: secret_missing");
  expect(line.msg).toContain("template app.conf, got nothing for api, want a secret of each name");
  expect(line.msg).toContain("contrast secret set api --for WORKLOAD");
  expect(visible()).toEqual([]);
  give(secret("db", 1), secret("api", 1, Buffer.from([0xff])));
  expect((await program.line("waiting: secret_not_text")).msg).toContain("other bytes in the secret api");
  give(secret("db", 1), secret("api", 2));
  expect(await program.exited).toBe(0);
  expect(read("secrets/app.conf")).toBe(`${MARK} db 1:${MARK} api 2`);
}, 60_000);

test("when the time is up it ends as where the Coordinator is not ready, and says what was missing", async () => {
  give();
  const program = initializer({ CONTRAST_TIMEOUT: "3s" }, { "app.conf": '{{ secret "db" }}' });
  expect(await program.exited).toBe(5);
  // The last line, which `kubectl describe pod` shows.
  const last = program.log.at(-1);
  expect(last).toMatchObject({ code: "gave_up" });
  expect(last?.msg).toContain("secret_missing");
  expect(last?.msg).toContain("nothing for db");
  expect(visible()).toEqual([]);
}, 60_000);

const HUGE = Buffer.alloc(64 * 1024, MARK);

test.each<[string, readonly Given[], string]>([
  ["a name that leads out of the folder", [secret("../../key.pem", 1)], "malformed_secrets"],
  ["an absolute name", [secret("/etc/cron.d/x", 1)], "malformed_secrets"],
  ["a name of the set's own", [secret("..data", 1)], "malformed_secrets"],
  ["the name of the own secret", [secret("workload-secret-seed", 1)], "malformed_secrets"],
  ["the name of a version", [secret("db", 2), secret("db@2", 1)], "malformed_secrets"],
  ["one version twice", [secret("db", 2), secret("db", 2, `${MARK} other`)], "malformed_secrets"],
  ["a value that is too large", [secret("db", 1, Buffer.alloc(65 * 1024, MARK))], "malformed_secrets"],
  [
    "more than one message may have",
    Array.from({ length: 24 }, (_, i) => secret(`s${i}`, 1, HUGE)),
    "malformed_message",
  ],
])(
  "%s: it refuses all, and writes nothing",
  async (_, secrets, code) => {
    give(...secrets);
    const program = initializer();
    expect(await program.exited).toBe(code === "malformed_secrets" ? 1 : 4);
    expect(program.log.at(-1)).toMatchObject({ code });
    expect(readdirSync(volume)).toEqual([]);
    expect(existsSync("/etc/cron.d/x")).toBe(false);
  },
  60_000,
);

test.skipIf(group === undefined)(
  `as many and as much as may be is taken in the memory that generate gives${group === undefined ? ": this process may not make a control group" : ""}`,
  async () => {
    // In memory, as the volume of a pod: what is written there counts, too.
    volume = mkdtempSync("/dev/shm/secrets-in-pods-test-");
    onTestFinished(() => rmSync(volume, { recursive: true }));
    const all = (version: number): Given[] =>
      Array.from({ length: 16 }, (_, index) => secret(`s${index}`, version, HUGE));
    give(...all(1));
    const keeper = initializer({}, {}, "keep", group?.within);
    await keeper.line("certificates written");
    for (let version = 2; version <= 4; version++) {
      give(...all(version));
      await expect.poll(() => existsSync(join(volume, `secrets/s15@${version}`)), WAIT).toBe(true);
    }
    expect(group?.kills()).toBe(0);
    process.stdout.write(`at most ${Math.round((group?.peak() ?? 0) / 2 ** 20)} MiB\n`);
  },
  120_000,
);

test("a pod that stays gets what changes, loses what is taken away, and believes nothing that can't be", async () => {
  give(secret("db", 1), secret("api", 1));
  const templates = { "app.conf": 'pw={{ secret "db" }}', "api.conf": '{{ secret "api" | url }}' };
  const keeper = keep(templates);
  await keeper.line("certificates written");
  const chain = read("certChain.pem");
  expect(read("secrets/app.conf")).toBe(`pw=${MARK} db 1`);

  // Another version, the one before still beside it.
  give(secret("db", 2), secret("db", 1), secret("api", 1));
  await expect.poll(() => read("secrets/app.conf"), WAIT).toBe(`pw=${MARK} db 2`);
  expect(secretNames()).toEqual(
    ["api", "api.conf", "api@1", "app.conf", "db", "db@1", "db@2", "workload-secret-seed"].toSorted(),
  );
  expect(read("certChain.pem")).not.toBe(chain);
  expect(await keeper.line("certificates renewed")).toMatchObject({ secrets: ["db@2", "api@1"] });

  // One taken away: its file is gone, and the file made of it stays; what else there is goes on.
  give(secret("db", 3));
  await expect.poll(() => read("secrets/app.conf"), WAIT).toBe(`pw=${MARK} db 3`);
  const warning = await keeper.line("the file stays as it is: secret_missing");
  expect(warning).toMatchObject({ level: "warn", code: "secret_missing" });
  expect(secretNames()).toEqual(["api.conf", "app.conf", "db", "db@3", "workload-secret-seed"]);
  expect(read("secrets/api.conf")).toBe(encodeURIComponent(`${MARK} api 1`));

  // An older one: the set stays.
  const before = read("certChain.pem");
  give(secret("db", 2));
  expect((await keeper.line("older_secrets")).msg).toContain("the secret db, got version 2, want version 3");
  expect([read("secrets/db"), read("certChain.pem")]).toEqual([`${MARK} db 3`, before]);

  // Nonsense: the same.
  give(secret("../db", 4));
  await keeper.line("malformed_secrets");
  expect([read("secrets/db"), read("certChain.pem")]).toEqual([`${MARK} db 3`, before]);

  give(secret("db", 4), secret("api", 2));
  await expect.poll(() => read("secrets/app.conf"), WAIT).toBe(`pw=${MARK} db 4`);
  expect(read("secrets/api.conf")).toBe(encodeURIComponent(`${MARK} api 2`));
  // What was in between cost tries, and not hundreds of them.
  expect(enrolled).toBeLessThan(40);
}, 180_000);

test("a container that starts again knows which versions the pod has, and keeps a file whose secret is gone", async () => {
  give(secret("db", 5), secret("api", 1));
  const templates = { "app.conf": 'pw={{ secret "api" }}' };
  const first = keep(templates);
  await first.line("certificates written");
  first.child.kill("SIGKILL");
  await first.exited;

  give(secret("db", 4));
  const second = keep(templates);
  await second.line("the certificates of an earlier run are kept");
  await second.line("older_secrets");
  expect(read("secrets/db")).toBe(`${MARK} db 5`);
  give(secret("db", 6));
  await second.line("the file stays as it is: secret_missing");
  await expect.poll(() => read("secrets/db"), WAIT).toBe(`${MARK} db 6`);
  expect(read("secrets/app.conf")).toBe(`pw=${MARK} api 1`);
}, 120_000);

test("killed in the middle of a set, again and again: what is visible is one set, and the next run cleans up", async () => {
  const count = 40;
  const all = (version: number): Given[] =>
    Array.from({ length: count }, (_, index) => secret(`s${index}`, version, randomBytes(8).toString("hex")));
  let version = 1;
  give(...all(version));
  const templates = { "all.conf": Array.from({ length: count }, (_, index) => `{{ secret "s${index}" }}`).join(" ") };
  const isWhole = (): boolean => {
    const values = Array.from({ length: count }, (_, index) => read(`secrets/s${index}`));
    const versions = new Set(secretNames().flatMap((name) => name.split("@").slice(1)));
    return read("secrets/all.conf") === values.join(" ") && versions.size === 1;
  };
  const first = keep(templates);
  await first.line("certificates written");
  first.child.kill("SIGKILL");
  await first.exited;
  let interrupted = 0;
  for (let round = 0; round < 8; round++) {
    give(...all(++version));
    const program = keep(templates);
    await program.line("the certificates of an earlier run are kept");
    // It renews at once. Half a set is there for some milliseconds.
    for (
      let wait = 0;
      wait < 4000 && readdirSync(volume).filter((name) => name.startsWith("..set-")).length < 2;
      wait++
    ) {
      await sleep(1);
    }
    program.child.kill("SIGKILL");
    await program.exited;
    if (readdirSync(volume).filter((name) => name.startsWith("..set-")).length > 1) interrupted++;
    expect(isWhole()).toBe(true);
  }
  expect(interrupted).toBeGreaterThan(0);
  give(...all(++version));
  const last = keep(templates);
  await expect.poll(() => existsSync(join(volume, `secrets/s0@${version}`)), WAIT).toBe(true);
  await expect.poll(() => readdirSync(volume).filter((name) => name.startsWith("..")).length, WAIT).toBe(2);
  expect(isWhole()).toBe(true);
  last.child.kill("SIGTERM");
  expect(await last.exited).toBe(0);
}, 180_000);

test("a template that is none is a fault of the configuration, with its place", async () => {
  mkdirSync(join(volume, "sub"));
  const program = initializer({ CONTRAST_SECRET_TEMPLATES: '{"app.conf":"a\\n{{ secret db }}","../x":""}' });
  expect(await program.exited).toBe(2);
  const text = [...program.text, ...program.log.map(({ msg }) => msg)].join("\n");
  expect(text).toContain('CONTRAST_SECRET_TEMPLATES, app.conf, line 2, column 1: got "{{ secret db }}"');
  expect(text).toContain('CONTRAST_SECRET_TEMPLATES, ../x: got "../x"');
}, 30_000);
