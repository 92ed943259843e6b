import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Refusal } from "../api/refusal.ts";
import {
  type AmendRequest,
  type AmendResponseSchema,
  type GetManifestsResponse,
  ManifestRecordSchema,
  type SealSecretRequest,
  UserAPI,
} from "../api/userapi_pb.ts";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { ChannelClient } from "../channel/client.ts";
import type { ChannelServer } from "../channel/server.ts";
import { type Annex, EMPTY_ANNEX, encodeAnnex, parseAnnex } from "../manifest/annex.ts";
import { changeToSign } from "../manifest/change.ts";
import { encodeTransition, parseTransition } from "../manifest/transition.ts";
import { annexOf, digest, secret, version } from "../manifest/test-annex.ts";
import { generateEcKey, type KeyPair, keyPairOf, spki } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { keyDigestOf } from "./owner-leave.ts";
import { standIn } from "./stand-in.ts";

/** An attested Coordinator that says of secrets what it should not. The CLI pins nothing of it. */

const ADDRESS = "127.42.8.3";
let deployment: CliDeployment;
/** What the genuine Coordinator said, after one amendment. */
let honest: GetManifestsResponse;
let owner: KeyPair;
const stranger = keyPairOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
let lying: ChannelServer | undefined;
let sealed: SealSecretRequest[];
let amended: AmendRequest[];

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  expect((await deployment.generate()).code).toBe(0);
  const coordinator = await deployment.startCoordinator("state");
  await deployment.result("set");
  writeFileSync(valueFile(), "hunter2");
  await deployment.result("secret", "set", "db", "--for", "web", "--from-file", valueFile());
  await deployment.result("verify");
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 10_000 });
  honest = await client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 20_000));
  client.close();
  await deployment.stop(coordinator);
  owner = keyPairOf(createPrivateKey(deployment.read("workload-owner.pem")));
}, 90_000);

afterEach(async () => {
  await lying?.close(0);
  lying = undefined;
});

afterAll(() => deployment.remove());

const valueFile = (): string => join(deployment.directory, "value");
const setAgain = (): Promise<Ended> => deployment.contrast("secret", "set", "db", "--from-file", valueFile());

interface Lies {
  readonly manifests?: GetManifestsResponse;
  readonly seal?: Uint8Array;
  readonly amend?: (request: AmendRequest) => MessageInitShape<typeof AmendResponseSchema>;
  readonly pending?: readonly object[];
}

async function lie({ manifests = honest, seal = randomBytes(32), amend, pending = [] }: Lies): Promise<void> {
  [sealed, amended] = [[], []];
  lying = await standIn(ADDRESS, deployment.file("simulated-tee/coordinator"), {
    getManifests: async () => manifests,
    sealSecret: async (request) => {
      sealed.push(request);
      return { sealedDigest: seal };
    },
    amend: async (request) => {
      amended.push(request);
      return amend?.(request) ?? {};
    },
    listPending: async () => ({ pending: [...pending] as never }),
  });
}

/** The step that follows what the honest one said, as these keys sign it. */
function step(annex: Uint8Array, keys: readonly KeyPair[], changes: object = {}) {
  const last = honest.history.at(-1);
  if (last === undefined) throw new Error("no history");
  const before = parseTransition(last.transitionRecord);
  const meshKey = keyDigestOf(honest.meshCaCert);
  const digestOf = Buffer.from(sha256Hex(annex), "hex");
  const manifest = honest.history[0]?.manifest ?? Buffer.alloc(0);
  const change = changeToSign({ manifest, previous: last.transition, meshKey, annex: digestOf });
  const signatures = keys.map(({ publicKey, privateKey }) => {
    return { publicKey: spki(publicKey), signature: sign("sha256", change, privateKey) };
  });
  const names = { previous: before.digest, meshKey: toHex(meshKey), annex: toHex(digestOf) };
  const record = encodeTransition({ ...before, ...names, signatures, ...changes });
  const transition = Buffer.from(sha256Hex(record), "hex");
  return { transition, record, entry: { manifest: Buffer.alloc(0), transition, transitionRecord: record, annex } };
}

function answer({ transition, record }: ReturnType<typeof step>) {
  return { latestTransition: transition, transitionRecord: record };
}

async function refuses(code: string, command: () => Promise<Ended>, exit = 3): Promise<string> {
  const files = ["pinned.json", "verify/history.json"];
  const before = files.map((name) => deployment.read(name));
  const { code: got, stderr } = await command();
  expect(stderr).toContain(`error: ${code}`);
  expect(got).toBe(exit);
  expect(files.map((name) => deployment.read(name))).toEqual(before);
  return stderr;
}

const inForce = (): Annex => parseAnnex(honest.history.at(-1)?.annex ?? Buffer.alloc(0));
/** What this owner's command signed. */
const asked = (request: AmendRequest): Uint8Array => request.annex;
/** What could follow. */
const another = (): Uint8Array =>
  encodeAnnex(annexOf(Object.fromEntries(inForce().secrets), { web: { data: { allowed: 1, used: 0 } } }));
/** What could not: a secret is gone. */
const other = encodeAnnex(annexOf({ evil: secret(1, version(1)) }));

test("an honest answer moves the pin", async () => {
  const pin = deployment.read("pinned.json");
  await lie({ amend: (request) => answer(step(asked(request), [owner])) });
  expect(await setAgain()).toMatchObject({ code: 0 });
  expect(sealed).toMatchObject([{ name: "db", version: 2 }]);
  expect(deployment.read("pinned.json")).not.toBe(pin);
  writeFileSync(deployment.file("pinned.json"), pin);
}, 30_000);

test.each<[string, string, (request: AmendRequest) => MessageInitShape<typeof AmendResponseSchema>]>([
  ["nothing", "broken_history", () => ({})],
  [
    "the step before",
    "broken_history",
    () => {
      const { transition = Buffer.alloc(0), transitionRecord = Buffer.alloc(0) } = honest.history.at(-1) ?? {};
      return { latestTransition: transition, transitionRecord };
    },
  ],
  ["another annex than was asked for", "broken_history", () => answer(step(other, [owner]))],
  ["a step that a stranger signed", "unauthorized_history", (request) => answer(step(asked(request), [stranger]))],
  ["a step that nobody signed", "broken_history", (request) => answer(step(asked(request), []))],
  ["another manifest", "broken_history", (request) => answer(step(asked(request), [owner], { manifest: digest(1) }))],
  ["another root CA", "broken_history", (request) => answer(step(asked(request), [owner], { rootKey: digest(1) }))],
  [
    "a pending change that nobody asked for",
    "unauthorized_history",
    () => ({ pending: pendingOf(other, [owner]) as never }),
  ],
  [
    "a pending change that is the owner's, with a stranger's signature",
    "unauthorized_history",
    (request) => ({ pending: pendingOf(asked(request), [stranger]) as never }),
  ],
])(
  "%s is no answer to an amendment",
  async (_name, code, amend) => {
    await lie({ amend });
    const stderr = await refuses(code, setAgain);
    expect(stderr).not.toContain("hunter2");
    expect(amended).toHaveLength(1);
  },
  30_000,
);

function pendingOf(annex: Uint8Array, keys: readonly KeyPair[]) {
  const { record } = step(annex, keys);
  const { signatures, manifest } = parseTransition(record);
  return { manifestDigest: Buffer.from(manifest, "hex"), signatures, missingSignatures: 1, annex };
}

test("a ciphertext that is there already, or no digest, is signed by nobody", async () => {
  const known = inForce().secrets.get("db")?.versions[0]?.sealed ?? "";
  for (const seal of [Buffer.from(known, "hex"), Buffer.alloc(31, 1), Buffer.alloc(0), Buffer.alloc(33, 1)]) {
    await lie({ seal });
    await refuses("invalid_annex", setAgain, 2);
    expect(amended).toEqual([]);
    await lying?.close(0);
  }
}, 60_000);

test("a conflict says what to do", async () => {
  await lie({
    amend: () => {
      throw new Refusal("conflict", "another change came first", { got: "x" });
    },
  });
  const { code, stderr } = await setAgain();
  expect(code).toBe(1);
  expect(stderr).toContain("conflict: another change came first");
  expect(stderr).toContain("run it again");
}, 30_000);

test.each<[string, string, () => GetManifestsResponse]>([
  ["an annex that owners did not sign", "unauthorized_history", () => withLast(step(another(), [stranger]).entry)],
  [
    "another annex than the transition names",
    "broken_history",
    () => {
      const entry = step(encodeAnnex(EMPTY_ANNEX), [owner]).entry;
      return withLast({ ...entry, annex: other });
    },
  ],
  [
    "no annex where there is one",
    "broken_history",
    () => withLast({ ...step(other, [owner]).entry, annex: Buffer.alloc(0) }),
  ],
  ["a secret that vanished", "broken_history", () => withLast(step(other, [owner]).entry)],
  ["a history without its amendment", "pin_mismatch", () => ({ ...honest, history: honest.history.slice(0, -1) })],
])(
  "%s is refused by every command, and no value is sent",
  async (_name, code, manifests) => {
    await lie({ manifests: manifests() });
    for (const command of ["verify", "set"] as const) await refuses(code, () => deployment.contrast(command));
    await refuses(code, () => deployment.contrast("secret", "list"));
    await refuses(code, setAgain);
    expect([sealed, amended]).toEqual([[], []]);
  },
  60_000,
);

function withLast(entry: MessageInitShape<typeof ManifestRecordSchema>): GetManifestsResponse {
  return { ...honest, history: [...honest.history, create(ManifestRecordSchema, entry)] };
}

test("a pending amendment is shown as far as owners signed it, and as it may follow", async () => {
  const list = () => deployment.contrast("pending", "list");
  const next = another();
  await lie({ pending: [pendingOf(next, [owner])] });
  expect((await list()).stdout).toContain("volume web/data: may be formatted once more");
  await lying?.close(0);
  const annexes = (pending: object) => lie({ pending: [pending] });
  for (const pending of [
    pendingOf(next, [stranger]),
    pendingOf(other, [owner]),
    { ...pendingOf(next, [owner]), annex: Buffer.from("{}") },
    { ...pendingOf(next, [owner]), annex: Buffer.concat([next, Buffer.from("\n")]) },
    { ...pendingOf(next, [owner]), manifestDigest: randomBytes(32) },
  ]) {
    await annexes(pending);
    await refuses("unauthorized_history", list);
    await lying?.close(0);
  }
  expect(existsSync(deployment.file(`pending/${sha256Hex(other)}`))).toBe(false);
}, 60_000);

test("the value is in no file of the workspace", () => {
  for (const name of ["pinned.json", "verify/history.json", "verify/annex.1.json", "verify/report.html"]) {
    expect(readFileSync(deployment.file(name), "utf8")).not.toContain("hunter2");
  }
});
