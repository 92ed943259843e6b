import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { spki, spkiDigest } from "../../pki/keys.ts";
import { decryptShare } from "../../pki/seed-share.ts";
import { FileStore } from "../../store/file-store.ts";
import { StateGuard } from "./state-guard.ts";
import type { RecoverRequest } from "./recover.ts";
import { RECORD_KINDS, type RecordKind } from "../../store/store.ts";
import { changeAfter, signedBy } from "../test-deployment.ts";
import { amend, withSecret } from "./test-amend.ts";

/**
 * Every byte of every file of a state is changed, and every file is cut at every length. Whoever reads the file is
 * refused and told its name: through the store, by a Coordinator that serves the history, and by one that is to recover.
 */

const ownerKeys = generateKeyPairSync("ec", { namedCurve: "P-256" });
const owner = toHex(spkiDigest(ownerKeys.publicKey));
const seedshareOwner = generateKeyPairSync("rsa", { modulusLength: 2048 });
const now = (): Date => new Date("2026-06-01T00:00:00Z");

let directory: string;
let store: FileStore;
let active: StateGuard;
let restarted: StateGuard;
let recover: () => Promise<unknown>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "damage-test-"));
  store = await FileStore.open(directory, { pid: process.pid, host: "test", since: now() });
  active = await load();
  const request = await set("before");
  await set("after");
  await amend(active, await withSecret(active, "db"), [ownerKeys]);
  restarted = await load();
  recover = () => restarted.recover(request);
});

afterAll(async () => {
  store.close();
  await rm(directory, { recursive: true });
});

function load(): Promise<StateGuard> {
  return StateGuard.load({ store, allowInsecure: true, now, random: randomBytes });
}

/** @returns what its seed share owner recovers with */
async function set(name: string): Promise<RecoverRequest> {
  const policy = Buffer.from(`the policy of ${name}`);
  const manifest = {
    Policies: { [createHash("sha256").update(policy).digest("hex")]: { SANs: [name] } },
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: [owner],
    SeedshareOwnerPubKeys: [toHex(spki(seedshareOwner.publicKey))],
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const change = active.phase === "active" ? changeAfter(active.active(), bytes) : undefined;
  const { snapshot } = await active.set({
    manifest: bytes,
    policies: [policy],
    callerKey: owner,
    latestTransition: undefined,
    signatures: change === undefined ? [] : [signedBy(ownerKeys, change)],
    signedMeshKey: undefined,
    revoke: false,
  });
  const { salt, shares } = snapshot.seedShares;
  const pins = {
    transition: Buffer.from(snapshot.latest.transition, "hex"),
    rootKey: spkiDigest(snapshot.seed.rootKey.publicKey),
  };
  const share = decryptShare(shares[0]?.encryptedSeed ?? Buffer.alloc(0), seedshareOwner.privateKey);
  return { share, salt, callerSpki: spki(seedshareOwner.publicKey), pins, force: false };
}

function* damages(bytes: Buffer): Generator<readonly [what: string, Buffer]> {
  for (let at = 0; at < bytes.length; at++) {
    yield [`cut to ${at}`, bytes.subarray(0, at)];
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (at & 7)), at);
    yield [`byte ${at} flipped`, flipped];
  }
  yield ["a byte more", Buffer.concat([bytes, Buffer.of(0)])];
}

/** Who reads this file, and can't do without it. */
function readers(kind: string, digest: string): (() => Promise<unknown>)[] {
  if (kind === "latest") return [() => store.latest(), load, recover];
  const get = (): Promise<unknown> => store.get(kind as RecordKind, digest);
  const history = (): Promise<unknown> => active.history();
  if (kind === "transitions") return [get, history, recover];
  if (kind === "seedshares") return [get, recover];
  // Only who compares pointers reads those that were.
  if (kind === "pointers") return [get];
  // Who recovers asks for no secret: they are opened when a workload gets them.
  if (kind === "secrets") return [get];
  // Who recovers reads every manifest: each says who may replace it.
  return kind === "manifests" || kind === "annexes" ? [get, history, recover] : [get, history];
}

async function files(): Promise<string[]> {
  const found = ["latest"];
  for (const kind of RECORD_KINDS) {
    found.push(...(await readdir(join(directory, kind))).map((digest) => `${kind}/${digest}`));
  }
  return found;
}

test(
  "no damage of any file goes unnoticed, and each is reported by the file's name",
  { timeout: 120_000 },
  async () => {
    const names = await files();
    expect(new Set(names.map((name) => name.split("/")[0]))).toEqual(
      new Set(["latest", ...RECORD_KINDS.filter((kind) => kind !== "consents")]),
    );
    for (const name of names) {
      const [kind = "", digest = ""] = name.split("/");
      const path = join(directory, name);
      const bytes = await readFile(path);
      for (const [what, damaged] of damages(bytes)) {
        await writeFile(path, damaged);
        for (const read of readers(kind, digest)) {
          const error = await read().then(
            () => "it was read",
            (error: unknown) => error,
          );
          expect(error, `${name}, ${what}`).toMatchObject({
            code: expect.stringMatching(/^(damaged_state|unknown_state_version)$/) as string,
            where: name,
          });
        }
      }
      await writeFile(path, bytes);
    }
    expect(restarted.phase).toBe("recovery");
    await recover();
    expect((await restarted.history()).steps).toHaveLength(3);
  },
);
