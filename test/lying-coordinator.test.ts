import type { MessageInitShape } from "@bufbuild/protobuf";
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  type GetManifestsResponse,
  type GetManifestsResponseSchema,
  type GetPendingResponseSchema,
  type ListPendingResponseSchema,
  type RecoverResponseSchema,
  type SetManifestResponseSchema,
  UserAPI,
} from "../api/userapi_pb.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import type { ChannelServer } from "../channel/server.ts";
import { changeToSign } from "../manifest/change.ts";
import { encodeTransition, parseTransition, type Transition } from "../manifest/transition.ts";
import { issueCa } from "../pki/certificate.ts";
import { generateEcKey, type KeyPair, keyPairOf, spki } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment } from "./cli-deployment.ts";
import { keyDigestOf } from "./owner-leave.ts";
import { standIn } from "./stand-in.ts";

/**
 * A Coordinator that is attested and says what it should not: one of another version, or one that a host had recovered
 * with a history of its own. The CLI checks what its owners signed and what it knows, whoever says otherwise.
 */

const ADDRESS = "127.95.0.9";
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });

let deployment: CliDeployment;
/** What the genuine Coordinator said. */
let honest: GetManifestsResponse;
let lying: ChannelServer | undefined;
/** How often it was asked to set a manifest. */
let sets: number;

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  expect((await deployment.generate()).code).toBe(0);
  const coordinator = await deployment.startCoordinator("state");
  await deployment.result("set");
  await deployment.result("set");
  await deployment.result("verify");
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 10_000 });
  honest = await client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 20_000));
  client.close();
  await deployment.stop(coordinator);
}, 90_000);

afterEach(async () => {
  await lying?.close(0);
  lying = undefined;
});

afterAll(() => deployment.remove());

interface Lies {
  readonly manifests?: MessageInitShape<typeof GetManifestsResponseSchema>;
  readonly set?: MessageInitShape<typeof SetManifestResponseSchema>;
  readonly recovery?: MessageInitShape<typeof RecoverResponseSchema>;
  readonly pending?: {
    readonly list?: MessageInitShape<typeof ListPendingResponseSchema>;
    readonly get?: MessageInitShape<typeof GetPendingResponseSchema>;
  };
}

async function lie({ manifests = honest, set = {}, recovery = {}, pending = {} }: Lies): Promise<void> {
  sets = 0;
  lying = await standIn(ADDRESS, deployment.file("simulated-tee/coordinator"), {
    getManifests: async () => manifests,
    setManifest: async () => {
      sets++;
      return set;
    },
    prepareRekey: async () => ({}),
    recover: async () => recovery,
    listPending: async () => pending.list ?? {},
    getPending: async () => pending.get ?? {},
    signPending: async () => {
      sets++;
      return set;
    },
    dropPending: async () => ({}),
    getStatus: async () => ({ state: "active" }),
  });
}

/** The honest history, whose transitions from this one on are others. */
function withTransitions(...changes: readonly Partial<Transition>[]): GetManifestsResponse {
  let previous: string | undefined;
  const history = honest.history.map((entry, index) => {
    const genuine = parseTransition(entry.transitionRecord);
    const record = encodeTransition({ ...genuine, previous, ...changes[index] });
    previous = createHash("sha256").update(record).digest("hex");
    return { ...entry, transitionRecord: record, transition: Buffer.from(previous, "hex") };
  });
  return { ...honest, history };
}

/** As a thief of the seed would: the transition as it should be, but for whose signature stands in it. */
function signedBy(keys: KeyPair): readonly Partial<Transition>[] {
  const [first, second] = honest.history;
  if (first === undefined || second === undefined) throw new Error("the history is too short");
  const { meshKey = "" } = parseTransition(second.transitionRecord);
  const bytes = { previous: first.transition, meshKey: Buffer.from(meshKey, "hex") };
  const change = changeToSign({ manifest: second.manifest, ...bytes });
  return [
    {},
    { signatures: [{ publicKey: spki(keys.publicKey), signature: sign("sha256", change, keys.privateKey) }] },
  ];
}

async function otherRoot(): Promise<string> {
  const key = await generateEcKey("P-384");
  const { validFromDate, validToDate } = new X509Certificate(honest.rootCaCert);
  const [notBefore, notAfter] = [validFromDate, validToDate];
  const issuer = { name: "Contrast root CA", key };
  return issueCa({ notBefore, notAfter, pathLength: 1, subject: issuer.name, publicKey: key.publicKey, issuer });
}

const kept = ["pinned.json", "coordinator-root-ca.pem", "mesh-ca.pem", "verify/history.json"];

/** None of these commands changes what the workspace knows. */
async function refuses(code: string, commands: readonly string[], ...args: readonly string[]): Promise<void> {
  const files = kept.filter((name) => name !== "pinned.json" || !args.includes("unpinned"));
  const before = files.map((name) => deployment.read(name));
  for (const command of commands) {
    const { code: exit, stderr } = await deployment.contrast(command);
    expect(stderr, command).toContain(code);
    expect(exit, command).toBe(3);
  }
  expect(sets).toBe(0);
  expect(files.map((name) => deployment.read(name))).toEqual(before);
}

test("the honest history of an attested Coordinator is verified", async () => {
  await lie({});
  expect((await deployment.contrast("verify")).code).toBe(0);
}, 30_000);

test.each<[string, string, () => GetManifestsResponse | Promise<GetManifestsResponse>]>([
  ["a change that a stranger signed", "unauthorized_history", () => withTransitions(...signedBy(stranger))],
  [
    "a change that nobody's signature is good for",
    "unauthorized_history",
    () => withTransitions({}, { meshKey: "ab".repeat(32) }),
  ],
  [
    "another transition than it says",
    "broken_history",
    () => ({ ...honest, history: honest.history.map((entry) => ({ ...entry, transition: randomBytes(32) })) }),
  ],
  [
    "no transitions but their digests, as version 0.1 said",
    "broken_history",
    () => ({ ...honest, history: honest.history.map((entry) => ({ ...entry, transitionRecord: Buffer.alloc(0) })) }),
  ],
  ["no history", "broken_history", () => ({ ...honest, history: [] })],
  ["a history without its beginning", "broken_history", () => ({ ...honest, history: honest.history.slice(1) })],
  [
    "another root CA than that of its history",
    "broken_history",
    async () => ({ ...honest, rootCaCert: await otherRoot() }),
  ],
  ["no root CA", "broken_history", () => ({ ...honest, rootCaCert: "" })],
])(
  "%s is refused, whether it is the first to be met or not",
  async (_name, code, lies) => {
    await lie({ manifests: await lies() });
    await refuses(code, ["verify", "set"]);
    const pin = deployment.read("pinned.json");
    rmSync(deployment.file("pinned.json"));
    await refuses(code, ["verify"], "unpinned");
    writeFileSync(deployment.file("pinned.json"), pin);
  },
  60_000,
);

test("a history that was begun anew with the same seed is refused by whoever has pinned the real one", async () => {
  // Nobody has to sign a first manifest; what a thief of the seed makes of it is correct throughout.
  const history = withTransitions({ seedShares: "ab".repeat(32) }).history.slice(0, 1);
  await lie({ manifests: { ...honest, history } });
  await refuses("pin_mismatch", ["verify", "set"]);
}, 30_000);

test("an older history is refused by whoever has pinned a newer one", async () => {
  await lie({ manifests: { ...honest, history: honest.history.slice(0, 1) } });
  await refuses("pin_mismatch", ["verify", "set"]);
}, 30_000);

test("an answer to set that is not the change which was asked for is pinned by nobody", async () => {
  const [first, second] = honest.history;
  const before = deployment.read("pinned.json");
  for (const entry of [first, second]) {
    const { rootCaCert, meshCaCert } = honest;
    const { transition: latestTransition, transitionRecord } = entry ?? {};
    if (latestTransition === undefined || transitionRecord === undefined) throw new Error("no history");
    await lie({ set: { rootCaCert, meshCaCert, latestTransition, transitionRecord } });
    const { code, stderr } = await deployment.contrast("set");
    expect(stderr).toContain("broken_history");
    expect(code).toBe(3);
    expect(sets).toBe(1);
    expect(deployment.read("pinned.json")).toBe(before);
    await lying?.close(0);
  }
}, 60_000);

/** A change that could follow, with signatures below it. */
function pendingWith(manifest: Buffer, ...pairs: readonly KeyPair[]) {
  const previous = honest.history.at(-1)?.transition ?? Buffer.alloc(0);
  const change = changeToSign({ manifest, previous, meshKey: keyDigestOf(honest.meshCaCert) });
  return {
    manifestDigest: createHash("sha256").update(manifest).digest(),
    signatures: pairs.map(({ publicKey, privateKey }) => ({
      publicKey: spki(publicKey),
      signature: sign("sha256", change, privateKey),
    })),
    missingSignatures: 0,
  };
}

test("what is said of a pending change is believed as far as owners signed it, and its manifest by its digest", async () => {
  const owner = keyPairOf(createPrivateKey(deployment.read("workload-owner.pem")));
  const next = readFileSync(deployment.file("manifest.json"));
  const policies = [...honest.policies];
  const list = (...pending: ReturnType<typeof pendingWith>[]) => ({ pending });
  const asked = async (code: string): Promise<void> => {
    const { code: exit, stderr } = await deployment.contrast("pending", "list");
    expect(stderr).toContain(code);
    expect(exit).toBe(3);
    expect(existsSync(deployment.file("pending"))).toBe(false);
    await lying?.close(0);
  };
  await lie({ pending: { list: list(pendingWith(next, stranger)) } });
  await asked("unauthorized_history");
  const [forged] = [pendingWith(next, owner)];
  await lie({ pending: { list: list({ ...forged, manifestDigest: randomBytes(32) }) } });
  await asked("unauthorized_history");
  await lie({ pending: { list: list(forged), get: { manifest: Buffer.from("{}"), policies } } });
  await asked("broken_history");
  await lie({ pending: { list: list(forged), get: { manifest: next, policies: policies.slice(1) } } });
  await asked("broken_history");
  await lie({ pending: { list: list(forged), get: { manifest: next, policies: [] } } });
  await asked("broken_history");
  await lie({ pending: { list: list(forged), get: { manifest: next, policies: [Buffer.from("[data]")] } } });
  await asked("broken_history");
}, 60_000);

test("what is answered to a signature is checked as what is answered to set", async () => {
  const before = deployment.read("pinned.json");
  const path = join(deployment.directory, "next.json");
  const next = Buffer.from(deployment.read("manifest.json").replace('"coordinator"', '"coordinator","x"'));
  writeFileSync(path, next);
  const [entry] = honest.history;
  if (entry === undefined) throw new Error("no history");
  const policies = [...honest.policies];
  const { rootCaCert, meshCaCert } = honest;
  const { transition: latestTransition, transitionRecord } = entry;
  const answers: MessageInitShape<typeof SetManifestResponseSchema>[] = [
    { rootCaCert, meshCaCert, latestTransition, transitionRecord },
    { pending: pendingWith(next, stranger) },
    { pending: pendingWith(Buffer.from("{}")) },
    {},
  ];
  for (const set of answers) {
    await lie({ set, pending: { get: { manifest: next, policies } } });
    const { code, stderr } = await deployment.contrast("pending", "sign", path);
    expect(stderr).toMatch(/broken_history|unauthorized_history/);
    expect(code).toBe(3);
    expect(sets).toBe(1);
    expect(deployment.read("pinned.json")).toBe(before);
    await lying?.close(0);
  }
}, 60_000);

test("recover writes no root CA but the one that is pinned", async () => {
  const manifest = readFileSync(deployment.file("manifest.json"));
  const [rootCaCert, { meshCaCert }] = [await otherRoot(), honest];
  await lie({ recovery: { missingShares: 0, manifest, rootCaCert, meshCaCert } });
  await refuses("another_deployment", ["recover"]);
  await lying?.close(0);
  await lie({ recovery: { missingShares: 0, manifest, rootCaCert: honest.rootCaCert, meshCaCert } });
  rmSync(deployment.file("coordinator-root-ca.pem"));
  expect((await deployment.contrast("recover")).code).toBe(0);
  const { RootCaKey } = JSON.parse(deployment.read("pinned.json")) as { RootCaKey: string };
  expect(toHex(keyDigestOf(deployment.read("coordinator-root-ca.pem")))).toBe(RootCaKey);
}, 60_000);

test("the share goes to no Coordinator that could take it without a pin", () => {
  // The field by which version 0.1 took a share.
  const { fields } = UserAPI.method.recover.input;
  expect(fields.map(({ name, number }) => [name, number])).toContainEqual(["seed", 4]);
  expect(fields.some(({ number }) => number === 1)).toBe(false);
  expect(fields.map(({ name }) => name)).toContain("pinned_transition");
});
