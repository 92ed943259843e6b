import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PERMIT_HEADER } from "../../api/http/permit.ts";
import { COORDINATOR, manifestFor } from "../peers/test-coordinator.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { type AskOptions, asking, drawNonce, PORT, type Reply, startAttest, type TestAttest } from "./test-attest.ts";
import { changeOf } from "./test-changes.ts";

/**
 * The OpenAPI document is what the server does: every status that it names was answered here, nothing else was, and every
 * answer is valid by its schema, as a validator sees it that knows nothing of ours.
 */

const ADDRESS = "127.45.1.4";
const EMPTY = "127.45.1.5";
const FULL = "127.45.1.6";

interface Response {
  readonly content?: Readonly<Record<string, { readonly schema?: { readonly $ref: string } }>>;
  readonly headers?: Readonly<Record<string, unknown>>;
}

interface Operation {
  readonly operationId: string;
  readonly requestBody?: unknown;
  readonly responses: Readonly<Record<string, Response>>;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

let ready: TestAttest;
let empty: TestAttest;
let full: TestAttest;
let document: Document;
const ajv = new Ajv2020({ formats: { base64: /^[A-Za-z0-9+/]*={0,2}$/ } });

beforeAll(async () => {
  // Nobody gets a turn.
  const turns = new KeyedSemaphore({ total: 0, perPeer: 0 });
  [ready, empty, full] = await Promise.all([
    startAttest(ADDRESS, { limits: { requestMs: 300 } }),
    startAttest(EMPTY),
    startAttest(FULL, { turns }),
  ]);
  await ready.set();
  document = (await ready.ask("/v1/openapi.json")).body as unknown as Document;
});

afterAll(() => Promise.all([ready, empty, full].map((coordinator) => coordinator.remove())));

/** A request whose head is text, and whose body never comes. */
async function raw(text: string): Promise<Reply> {
  const socket = connect(PORT, ADDRESS);
  let said = "";
  socket.on("error", () => undefined).on("data", (bytes: Buffer) => (said += bytes.toString()));
  socket.write(text);
  await once(socket, "close");
  const [head = "", body = ""] = said.split("\r\n\r\n");
  const lines = head.split("\r\n").slice(1);
  const headers = Object.fromEntries(
    lines.map((line) => line.split(": ")).map(([name = "", value]) => [name.toLowerCase(), value]),
  );
  const status = Number(said.split(" ")[1]);
  return { status, headers, bytes: Buffer.from(body), text: body, body: JSON.parse(body) as Reply["body"] };
}

/** Requests of every operation that lead to every answer that it has. */
function attempts(template: string, method: string): Promise<Reply>[] {
  const { manifestDigest } = ready.guard().active();
  const digests: Record<string, string> = {
    "/v1/manifests/{digest}": manifestDigest,
    "/v1/policies/{digest}": createHash("sha256").update(COORDINATOR).digest("hex"),
  };
  const isDocument = template.includes("{digest}");
  const path = template.replace("{digest}", digests[template] ?? "00".repeat(32));
  if (method === "options") return [ready.ask(path, { method: "OPTIONS" })];
  if (template === "/v1/set") return changes(path);
  const ask: AskOptions = template === "/v1/attest" ? asking(drawNonce()) : {};
  const line = `${method.toUpperCase()} ${path} HTTP/1.1\r\n`;
  const all = [
    ready.ask(path, ask),
    raw(`${line}Connection: close\r\n\r\n`),
    ready.ask(path, { ...ask, headers: { ...ask.headers, expect: "x" } }),
    full.ask(path, ask),
  ];
  if (template !== "/v1/openapi.json" && template !== "/v1/capabilities") all.push(empty.ask(path, ask));
  if (isDocument) {
    all.push(ready.ask(path.replace(/[^/]+$/, "00".repeat(32))));
    all.push(ready.ask(path, { headers: { "if-none-match": "*" } }));
  }
  if (template === "/v1/attest") {
    all.push(ready.ask(path, { ...ask, headers: {} }));
    all.push(ready.ask(path, { ...ask, body: " ".repeat(2000) }));
    all.push(raw(`${line}Host: x\r\nContent-Type: application/json\r\nContent-Length: 80\r\n\r\n`));
  }
  return all;
}

/** The one that is good comes last: after it, no other is. */
function changes(path: string): Promise<Reply>[] {
  const parts = { ...manifestFor(ready.deployment, { name: "next" }), owners: [ready.deployment.ownerKeys] };
  const good = changeOf(ready.guard(), parts);
  const outdated = changeOf(ready.guard(), parts, (body) => ({ ...body, latestTransition: "ab".repeat(32) }));
  const { [PERMIT_HEADER]: permit = "", ...noPermit } = good.headers;
  const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${PERMIT_HEADER}: ${permit}\r\n`;
  const bad = [
    raw(`POST ${path} HTTP/1.1\r\nConnection: close\r\n\r\n`),
    raw(`${head}Content-Length: 80\r\n\r\n`),
    raw(`${head}Transfer-Encoding: chunked\r\n\r\n`),
    raw(`${head}Content-Length: 100000000\r\n\r\n`),
    ready.ask(path, { ...good, headers: { ...good.headers, expect: "x" } }),
    ready.ask(path, { ...good, headers: noPermit }),
    ready.ask(path, { ...good, headers: { [PERMIT_HEADER]: permit } }),
    ready.ask(path, { ...good, body: "{}" }),
    ready.ask(path, outdated),
    full.ask(path, good),
    empty.ask(path, good),
  ];
  return [...bad, Promise.all(bad).then(() => ready.ask(path, good))];
}

function validator(ref: string | undefined): ValidateFunction {
  const name = ref?.replace("#/components/schemas/", "") ?? "";
  return ajv.compile(document.components.schemas[name] ?? fail(name));
}

function fail(what: string): never {
  throw new Error(`there is no ${what}`);
}

test("every answer that the document names is given, no other is, and each is valid by its schema", async () => {
  expect(document.openapi).toBe("3.1.0");
  const documented = new Set<string>();
  const answered = new Set<string>();
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (method === "parameters") continue;
      const { responses } = operation;
      for (const status of Object.keys(responses)) {
        if (status !== "default") documented.add(`${method} ${path} ${status}`);
      }
      for (const reply of await Promise.all(attempts(path, method))) {
        const what = `${method} ${path} ${reply.status}`;
        answered.add(what);
        const { content, headers = {} } = responses[reply.status] ?? fail(what);
        const [[type, media] = []] = Object.entries(content ?? {});
        expect(reply.headers["content-type"], what).toBe(type);
        for (const name of Object.keys(headers)) expect(reply.headers[name.toLowerCase()], what).toMatch(/^[1-9]\d*$/);
        if (media?.schema === undefined) continue;
        const validate = validator(media.schema.$ref);
        expect(validate(reply.body), `${what}: ${ajv.errorsText(validate.errors)}`).toBe(true);
      }
    }
  }
  // Nothing was amended, so there is no annex; another test reads one.
  const noAnnex = ["200", "304"].map((status) => `get /v1/annexes/{digest} ${status}`);
  // The TEE says at once what it is; another test has it say nothing.
  const silent = ["get /v1/capabilities 503"];
  // None of these needs recovery; another test has one.
  const recovering = ["post /v1/set 503"];
  expect(new Set([...answered, ...noAnnex, ...silent, ...recovering])).toEqual(documented);
});

test("a schema of the document refuses what a parser of ours refuses", () => {
  const validate = validator("#/components/schemas/AttestRequest");
  expect(validate({ nonce: "ab".repeat(32) })).toBe(true);
  for (const bad of [
    {},
    { nonce: "AB".repeat(32) },
    { nonce: "ab".repeat(31) },
    { nonce: "ab".repeat(32), x: 1 },
    [],
  ]) {
    expect(validate(bad)).toBe(false);
  }
});
