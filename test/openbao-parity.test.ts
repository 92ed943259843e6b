import { afterAll, beforeAll, expect, test } from "vitest";
import {
  base64,
  type ClientFiles,
  decryptPath,
  encryptPath,
  startTransit,
  type TestTransit,
} from "../coordinator/transit/test-transit.ts";
import { type BaoServer, HAS_OPENBAO, NO_OPENBAO, startDevBao } from "./openbao.ts";

/** The same requests to the transit port and to OpenBao's transit engine: status, form and text of what they answer. */

const ADDRESS = "127.44.20.5";
const BAO = "127.44.20.6:8200";
const KEY = "vault_unsealing";
let transit: TestTransit;
let client: ClientFiles;
let bao: BaoServer;
/** Of each server: a ciphertext of the key, one of another key, and one of another deployment. */
let ours: Readonly<Record<string, string>>;
let theirs: Readonly<Record<string, string>>;

interface Heard {
  readonly status: number;
  readonly text: string;
}

const skip = !HAS_OPENBAO;
const name = (text: string): string => (skip ? `${text}: ${NO_OPENBAO}` : text);

async function askBao(method: string, path: string, body?: string): Promise<Heard> {
  const headers = { "x-vault-token": "root", "content-type": "application/json" };
  const response = await fetch(`http://${BAO}${path}`, { method, headers, ...(body !== undefined && { body }) });
  return { status: response.status, text: await response.text() };
}

const askOurs = (method: string, path: string, body?: string): Promise<Heard> =>
  transit.ask(client, path, body, { method });

beforeAll(async () => {
  if (skip) return;
  bao = startDevBao(BAO);
  transit = await startTransit(ADDRESS);
  await transit.set();
  client = await transit.enroll("vault");
  await bao.says("Development mode should NOT be used in production");
  expect((await askBao("POST", "/v1/sys/mounts/transit", '{"type":"transit"}')).status).toBe(204);
  for (const key of [KEY, "other"]) expect((await askBao("POST", `/v1/transit/keys/${key}`, "{}")).status).toBe(200);
  const encrypted = async (asked: Promise<Heard>): Promise<string> =>
    (JSON.parse((await asked).text) as { readonly data: { readonly ciphertext: string } }).data.ciphertext;
  const request = JSON.stringify({ plaintext: base64("hello") });
  const shop = await transit.enroll("shop");
  ours = {
    own: await encrypted(askOurs("POST", encryptPath(KEY), request)),
    other: await encrypted(transit.ask(shop, encryptPath("apps/v1/Deployment/shop/web"), request)),
  };
  theirs = {
    own: await encrypted(askBao("POST", encryptPath(KEY), request)),
    other: await encrypted(askBao("POST", encryptPath("other"), request)),
  };
}, 60_000);

afterAll(async () => {
  if (skip) return;
  bao.child.kill("SIGKILL");
  await bao.exited;
  await transit.remove();
});

/** @param of makes a body from the ciphertexts of the server that it goes to */
async function both(method: string, path: string, of: Body): Promise<readonly [Heard, Heard]> {
  return Promise.all([askOurs(method, path, of(ours)), askBao(method, path, of(theirs))]);
}

const formOf = ({ status, text }: Heard): unknown => {
  const value = (text === "" ? {} : JSON.parse(text)) as Readonly<Record<string, unknown>>;
  return { status, keys: Object.keys(value).sort(), errors: Array.isArray(value["errors"]) };
};

type Body = (sealed: Readonly<Record<string, string>>) => string | undefined;

const json =
  (value: unknown): Body =>
  () =>
    JSON.stringify(value);
const raw =
  (text: string): Body =>
  () =>
    text;
const none: Body = () => undefined;
const cipher =
  (edit: (text: string) => string, which = "own"): Body =>
  (sealed) =>
    JSON.stringify({ ciphertext: edit(sealed[which] ?? "") });

/** Both say the same, in the same words. */
test.skipIf(skip).for<readonly [string, string, Body]>([
  ["a ciphertext of another key", decryptPath(KEY), cipher((text) => text, "other")],
  ["a version to come", decryptPath(KEY), cipher((text) => text.replace("v1", "v2"))],
  ["no prefix", decryptPath(KEY), json({ ciphertext: "hello" })],
  ["no base64", decryptPath(KEY), json({ ciphertext: "vault:v1:!!!" })],
  ["nothing behind the prefix", decryptPath(KEY), json({ ciphertext: "vault:v1:" })],
  ["too short a ciphertext", decryptPath(KEY), json({ ciphertext: "vault:v1:AAAA" })],
  ["an empty ciphertext", decryptPath(KEY), json({ ciphertext: "" })],
  ["no ciphertext", decryptPath(KEY), json({})],
  ["an empty body", decryptPath(KEY), raw("")],
  ["no plaintext", encryptPath(KEY), json({})],
  ["a key version to come", encryptPath(KEY), json({ plaintext: "", key_version: 7 })],
])(name("%s: the same status and text"), async ([, path, of]) => {
  const [own, peer] = await both("POST", path, of);
  expect(own.status).toBe(400);
  expect(own.status).toBe(peer.status);
  expect(JSON.parse(own.text)).toEqual(JSON.parse(peer.text));
});

/** Both refuse it with the same status, in the same form; the words differ. */
test.skipIf(skip).for<readonly [string, string, Body]>([
  ["POST", encryptPath(KEY), json({ plaintext: "!!!" })],
  ["POST", encryptPath(KEY), json({ plaintext: "aGVsbG8" })],
  ["POST", encryptPath(KEY), json({ plaintext: 5 })],
  ["POST", encryptPath(KEY), json({ plaintext: {} })],
  ["POST", encryptPath(KEY), raw("[]")],
  ["POST", encryptPath(KEY), raw('"x"')],
  ["POST", encryptPath(KEY), raw("null")],
  ["POST", encryptPath(KEY), raw('{"plaintext":')],
  ["POST", encryptPath(KEY), raw("not json")],
  ["POST", encryptPath(KEY), raw('{"plaintext":"aGVsbG8="} x')],
  ["GET", encryptPath(KEY), none],
  ["DELETE", decryptPath(KEY), none],
  ["POST", "/v1/transit/encrypt", json({ plaintext: "" })],
  ["POST", `/v1/transit/unknown/${KEY}`, json({})],
  ["POST", "/v1/nomount/x", json({})],
  ["GET", "/v1/", none],
  ["GET", "/v2/x", none],
])(name("%s %s: the same status and form"), async ([method, path, of]) => {
  const [own, peer] = await both(method, path, of);
  expect(formOf(own), `${own.text} ${peer.text}`).toEqual(formOf(peer));
});

/** What OpenBao lets through, the transit port refuses: it has no default that could surprise. */
test.skipIf(skip).for<readonly [string, string, Body, number, number]>([
  ["a parameter that is not known", encryptPath(KEY), json({ plaintext: "", other: 1 }), 200, 400],
  ["no plaintext but null", encryptPath(KEY), json({ plaintext: null }), 200, 400],
  ["version 0 for version 1", decryptPath(KEY), cipher((text) => text.replace("v1", "v0")), 200, 400],
  ["a key that it would make", encryptPath("made-by-encrypting"), json({ plaintext: "" }), 200, 403],
  ["a key that is not there", decryptPath("nobody"), cipher((text) => text), 400, 403],
  ["an escaped dot", encryptPath("%2e%2e"), json({ plaintext: "" }), 400, 403],
])(name("%s: stricter, and why is written down"), async ([, path, of, peers, own]) => {
  const [mine, peer] = await both("POST", path, of);
  expect([mine.status, peer.status]).toEqual([own, peers]);
  expect(Object.keys(JSON.parse(mine.text) as object)).toEqual(["errors"]);
});

test.skipIf(skip)(name("what is granted has the same form"), async () => {
  const form = ({ status, text }: Heard): unknown => {
    const { data, ...others } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    return {
      status,
      data: Object.keys(data as object).sort(),
      others: { ...others, request_id: typeof others["request_id"] },
    };
  };
  for (const method of ["POST", "PUT"]) {
    const [own, peer] = await both(method, encryptPath(KEY), json({ plaintext: base64("x") }));
    expect(form(own)).toEqual(form(peer));
    const [mine, other] = await both(
      method,
      decryptPath(KEY),
      cipher((text) => text),
    );
    expect(form(mine)).toEqual(form(other));
  }
});

test.skipIf(skip)(
  name("a token that is none, and a key that is not the caller's, are refused in the same bytes"),
  async () => {
    const response = await fetch(`http://${BAO}${encryptPath(KEY)}`, {
      method: "POST",
      headers: { "x-vault-token": "bad" },
      body: JSON.stringify({ plaintext: "" }),
    });
    const own = await askOurs("POST", encryptPath("nobody"), JSON.stringify({ plaintext: "" }));
    expect({ status: own.status, text: own.text }).toEqual({ status: response.status, text: await response.text() });
  },
);
