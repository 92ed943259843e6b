import { generateKeyPairSync } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { AttestAnswer } from "../api/http/answers.ts";
import { toUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { issueCa } from "../pki/certificate.ts";
import {
  ada,
  ben,
  COORDINATOR_HASH,
  COORDINATOR_POLICY,
  eve,
  NOW,
  TestCoordinator,
  WEB_HASH,
} from "./test-coordinator.ts";
import { refusal } from "./test-refusal.ts";
import {
  followDeployment,
  toStatement,
  verifyDeployment,
  type VerifyDeploymentOptions,
  verifyStatement,
} from "./verifier.ts";

const ADDRESS = "127.121.0.1";

let coordinator: TestCoordinator;
let server: Server;
let url: string;

beforeAll(async () => {
  coordinator = await TestCoordinator.create();
  await coordinator.set({ NotBefore: "2026-05-01T00:00:00Z" });
  ({ server, url } = await coordinator.listen(ADDRESS));
});

beforeEach(() => {
  coordinator.lies = {};
  coordinator.asked.length = 0;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function verify(changes: Partial<VerifyDeploymentOptions> = {}) {
  return verifyDeployment({ url, manifest: coordinator.manifest, allowInsecure: true, now: () => NOW, ...changes });
}

test("a deployment is verified by one call", async () => {
  const facts = await verify();
  expect(facts).toMatchObject({
    insecure: true,
    coordinator: {
      tee: "snp",
      policy: COORDINATOR_HASH,
      referenceValues: "$.ReferenceValues.insecure[0]",
      claims: { product: "Milan", insecure: true },
    },
    manifest: { sha256: sha256Hex(coordinator.manifest), generation: 2, text: coordinator.manifest.toString() },
    verifiedAt: NOW.toISOString(),
    meshCa: { pem: coordinator.state.authority.meshCa },
    rootCa: { pem: coordinator.state.authority.rootCa },
    policies: {},
    signed: { time: "2020-01-01T00:00:00.000Z", what: "notBefore of the certificate of SEV-VCEK" },
  });
  expect(facts.history.map(({ kind, signedBy }) => [kind, signedBy.length])).toEqual([
    ["first", 0],
    ["set", 1],
  ]);
  expect(coordinator.asked.filter((path) => path.includes("policies"))).toEqual([]);
});

test("nobody can change what was verified, and a text of the manifest will do", async () => {
  const facts = await verify({ manifest: coordinator.manifest.toString(), url: `${url}/`, policy: COORDINATOR_HASH });
  expect(() => Object.assign(facts.meshCa, { pem: "another" })).toThrow(TypeError);
  expect(() => Object.assign(facts.coordinator.claims, { insecure: false })).toThrow(TypeError);
});

test("policies are read where they are asked for, each by its hash", async () => {
  const { policies } = await verify({ policies: true });
  expect(Object.keys(policies).toSorted()).toEqual([COORDINATOR_HASH, WEB_HASH].toSorted());
  expect(policies[COORDINATOR_HASH]).toBe(toUtf8(COORDINATOR_POLICY));
});

test("policies of earlier manifests are read as well: who compares manifests compares those", async () => {
  const start = coordinator.state;
  await coordinator.set({ Policies: { [COORDINATOR_HASH]: { SANs: ["coordinator"], Role: "coordinator" } } });
  const { policies } = await verify({ policies: true });
  coordinator.state = start;
  expect(Object.keys(policies).toSorted()).toEqual([COORDINATOR_HASH, WEB_HASH].toSorted());
});

test("who may know the seed by an earlier manifest alone is asked about at the first contact, also of a statement", async () => {
  const start = coordinator.state;
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 3072 });
  const owner = publicKey.export({ type: "spki", format: "der" });
  const before = await verify();
  await coordinator.set({ SeedshareOwnerPubKeys: [owner.toString("hex")] });
  expect((await verify()).manifest.generation).toBe(3);
  await coordinator.set({ SeedshareOwnerPubKeys: [] });
  const error = await refusal(verify());
  const key = sha256Hex(owner);
  expect(error).toMatchObject({
    code: "seed_known_to_others",
    where: expect.stringContaining("manifest 3 of 4"),
    got: key,
  });
  const accepting = await verify({ formerSeedshareOwners: [key] });
  const statement = await toStatement(accepting);
  const options = { manifest: coordinator.manifest, allowInsecure: true, now: () => NOW };
  expect((await refusal(verifyStatement(statement, options))).code).toBe("seed_known_to_others");
  expect((await verifyStatement(statement, { ...options, formerSeedshareOwners: [key] })).manifest.generation).toBe(4);
  // Who knew the deployment before has accepted what was before, and owners allowed what came after.
  expect((await followDeployment(before)).manifest.generation).toBe(4);
  coordinator.state = start;
});

/** The evidence or what it vouches for is another. */
test.each<[code: string, what: string, lie: (answer: AttestAnswer) => object]>([
  ["nonce_mismatch", "an answer to another nonce", (answer) => ({ ...answer, nonce: "00".repeat(32) })],
  ["report_data_mismatch", "a path to another root", (answer) => ({ ...answer, path: answer.path.slice(1) })],
  [
    "report_data_mismatch",
    "siblings on the wrong side",
    (answer) => ({ ...answer, path: answer.path.map(({ digest }) => ({ side: "left", digest })) }),
  ],
  ["report_data_mismatch", "evidence for another nonce", (answer) => ({ ...answer, evidence: stale().evidence })],
  ["report_signature", "an edited report", (answer) => ({ ...answer, evidence: edited(answer.evidence) })],
  ["nonce_mismatch", "a stale answer", () => stale()],
  ["unexpected_answer", "no JSON of the schema", ({ nonce }) => ({ version: 1, nonce })],
  ["unexpected_answer", "an unknown member", (answer) => ({ ...answer, verified: true })],
  ["unexpected_answer", "a nonce in capitals", (answer) => ({ ...answer, nonce: answer.nonce.toUpperCase() })],
  ["unexpected_answer", "a path of 21 steps", (answer) => ({ ...answer, path: Array(21).fill(answer.path[0]) })],
  ["unexpected_answer", "base64 of another form", (answer) => ({ ...answer, transition: `${answer.transition}=` })],
  ["broken_history", "a cut transition", (answer) => ({ ...answer, transition: answer.transition.slice(0, 64) })],
  ["manifest_mismatch", "the transition before", (answer) => ({ ...answer, transition: records()[0] })],
  ["ca_mismatch", "a certificate that is none", (answer) => ({ ...answer, meshCa: "-----BEGIN" })],
  ["ca_mismatch", "two certificates", (answer) => ({ ...answer, meshCa: answer.meshCa + answer.rootCa })],
  ["ca_mismatch", "text behind the certificate", (answer) => ({ ...answer, rootCa: `${answer.rootCa}\n` })],
  ["ca_mismatch", "root CA and mesh CA swapped", (answer) => ({ ...answer, rootCa: answer.meshCa })],
  ["ca_mismatch", "a mesh CA with other dates", (answer) => ({ ...answer, meshCa: redated(answer.meshCa) })],
  ["broken_history", "a history without its end", (answer) => ({ ...answer, history: answer.history.slice(0, 1) })],
  ["broken_history", "a history without its start", (answer) => ({ ...answer, history: answer.history.slice(1) })],
  [
    "broken_history",
    "another manifest in the history",
    (answer) => ({ ...answer, history: answer.history.map((step) => ({ ...step, manifest: "00".repeat(32) })) }),
  ],
])("%s: %s", async (code, _what, answer) => {
  coordinator.lies = { answer };
  const error = await refusal(verify());
  expect(error.code).toBe(code);
  expect(error.where ?? error.want).toBeDefined();
});

/** What was answered to somebody else before. */
function stale(): AttestAnswer {
  return coordinator.attest([Buffer.alloc(32, 7)]);
}

function edited(evidence: AttestAnswer["evidence"]): AttestAnswer["evidence"] {
  if (evidence.kind !== "snp") throw new Error("no report");
  const report = Buffer.from(evidence.report, "base64");
  report.writeUInt8(report.readUInt8(0x90) ^ 1, 0x90);
  return { ...evidence, report: report.toString("base64") };
}

function records(): string[] {
  return coordinator.state.steps.map(({ transition }) => Buffer.from(transition.record).toString("base64"));
}

/** One byte of a date: the signature is over it. */
function redated(pem: string): string {
  const der = Buffer.from(pem.replace(/-----[^-]*-----/g, ""), "base64");
  // notAfter, ten years later, as UTCTime.
  const at = der.indexOf("3605", 0, "latin1");
  if (at < 0) throw new Error("no such date");
  der.write("4", at, "latin1");
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}

test("a mesh CA of an attacker's key is refused, also where it is right in all else", async () => {
  const { publicKey } = ben;
  coordinator.lies = {
    answer: (answer) => ({
      ...answer,
      meshCa: issueCa({
        subject: "Contrast mesh CA",
        issuer: { name: "Contrast mesh CA", key: ben },
        publicKey,
        pathLength: 0,
        notBefore: new Date("2026-01-01T00:00:00Z"),
        notAfter: new Date("2036-01-01T00:00:00Z"),
      }),
    }),
  };
  expect((await refusal(verify())).code).toBe("report_data_mismatch");
});

test("a workload of the deployment is not its Coordinator", async () => {
  coordinator.lies = { hostData: WEB_HASH };
  expect(await refusal(verify())).toMatchObject({ code: "not_coordinator", got: WEB_HASH, want: COORDINATOR_HASH });
  expect((await refusal(verify({ policy: COORDINATOR_HASH }))).code).toBe("not_coordinator");
});

test("a pinned policy has to be that of the evidence, and pins are checked", async () => {
  expect(await refusal(verify({ policy: WEB_HASH }))).toMatchObject({ code: "not_coordinator", want: WEB_HASH });
  expect((await refusal(verify({ policy: COORDINATOR_HASH.toUpperCase() }))).code).toBe("invalid_option");
});

test("another manifest than the one in force is refused, and a broken one before anything is asked", async () => {
  expect((await refusal(verify({ manifest: coordinator.manifestOf({}) }))).code).toBe("manifest_mismatch");
  expect((await refusal(verify({ manifest: "{}" }))).code).toBe("invalid_manifest");
  expect((await refusal(verify({ manifest: `${coordinator.manifest.toString()} ` }))).code).toBe("manifest_mismatch");
});

test("a software TEE is believed only where the caller says so", async () => {
  expect((await refusal(verify({ allowInsecure: false }))).code).toBe("insecure_not_allowed");
});

test("a clock before the manifest, or out of all certificates, is refused", async () => {
  const at = (text: string) => verify({ now: () => new Date(text) });
  expect((await refusal(at("2026-04-01T00:00:00Z"))).code).toBe("clock_before_manifest");
  expect((await refusal(at("2041-01-01T00:00:00Z"))).code).toBe("ca_mismatch");
  expect((await refusal(at("no time"))).code).toBe("clock_before_manifest");
});

test("a change that no owner allowed is found, whoever made the evidence", async () => {
  const forged = await TestCoordinator.create();
  await forged.set({ NotBefore: "2026-05-02T00:00:00Z" }, [eve]);
  const other = await forged.listen(ADDRESS);
  try {
    const error = await refusal(verify({ url: other.url, manifest: forged.manifest }));
    expect(error).toMatchObject({ code: "unauthorized_history", where: expect.stringContaining("manifest 2") });
  } finally {
    other.server.close();
  }
});

/** What stands in between answers with something else. */
test.each<[code: string, what: string, path: string, respond: (response: ServerResponse) => void]>([
  ["unexpected_answer", "an error page", "/v1/attest", html(502)],
  ["unexpected_answer", "a page in the place of the API", "/v1/attest", html(200)],
  ["unexpected_answer", "JSON that is none", "/v1/attest", json(200, "{")],
  ["unexpected_answer", "a problem that is none", "/v1/attest", json(503, "{}", "application/problem+json")],
  ["unexpected_answer", "JSON as text", "/v1/attest", json(200, "{}", "text/plain")],
  ["unexpected_answer", "no content", "/v1/attest", (response) => response.writeHead(204).end()],
  ["unexpected_answer", "another error in JSON", "/v1/attest", json(500, "{}")],
  ["redirected", "a redirect", "/v1/attest", redirect("https://elsewhere.example/v1/attest")],
  ["redirected", "a redirect of a document", "/v1/manifests", redirect("http://127.0.0.1:9/")],
  ["redirected", "a redirect to the same place", "/v1/history", redirect("/v1/history")],
  ["unreachable", "a broken connection", "/v1/attest", (response) => response.destroy()],
  ["unreachable", "a cut answer", "/v1/history", cut],
  ["answer_too_large", "an announced flood", "/v1/attest", flood(9 * 2 ** 20)],
  ["answer_too_large", "a flood", "/v1/attest", flood(undefined)],
  ["answer_too_large", "a flood in the place of a manifest", "/v1/manifests", flood(undefined)],
  ["answer_too_large", "a flood in the place of a problem", "/v1/attest", flood(undefined, 503)],
  ["digest_mismatch", "another manifest", "/v1/manifests", (response) => response.writeHead(200).end("{}")],
  ["digest_mismatch", "an empty manifest", "/v1/manifests", (response) => response.writeHead(200).end()],
  ["digest_mismatch", "another policy", "/v1/policies", (response) => response.writeHead(200).end("version")],
  ["broken_history", "an empty history", "/v1/history", json(200, '{"version":1,"transitions":[]}')],
  ["unexpected_answer", "a history of another version", "/v1/history", json(200, '{"version":2,"transitions":[]}')],
])("%s: %s", async (code, _what, path, answer) => {
  coordinator.lies = {
    respond: (request: IncomingMessage, response: ServerResponse) => {
      if (request.url?.startsWith(path) !== true) return false;
      answer(response);
      return true;
    },
  };
  const error = await refusal(verify({ policies: true }));
  expect(error.code).toBe(code);
  expect(error.retryAfterMs).toBeUndefined();
});

function html(status: number) {
  return (response: ServerResponse): void => {
    response.writeHead(status, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>".repeat(1000));
  };
}

function json(status: number, body: string, type = "application/json") {
  return (response: ServerResponse): void => {
    response.writeHead(status, { "content-type": type }).end(body);
  };
}

function redirect(location: string) {
  return (response: ServerResponse): void => {
    response.writeHead(307, { location }).end();
  };
}

function cut(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": 1000 });
  response.write('{"version":1,');
  setTimeout(() => response.destroy(), 20);
}

/** Without an end. What is read of it is bounded by who reads. */
function flood(length: number | undefined, status = 200) {
  return (response: ServerResponse): void => {
    const type = status === 200 ? "application/json" : "application/problem+json";
    response.writeHead(status, { "content-type": type, ...(length === undefined ? {} : { "content-length": length }) });
    const block = Buffer.alloc(2 ** 18, 32);
    let sent = 0;
    const more = (): void => {
      for (;;) {
        sent += block.length;
        // Who reads to the end of this has no bound.
        if (sent > 2 ** 28) response.destroy();
        if (response.destroyed || !response.write(block)) return;
      }
    };
    response.on("drain", more);
    more();
  };
}

test.each([
  [429, undefined, "3", 3000],
  [503, 250, "3", 250],
  [503, undefined, undefined, undefined],
])("a Coordinator that is not ready (%i) says when to try again", async (status, retryAfterMs, header, want) => {
  const problem = {
    type: "about:blank",
    title: "",
    status,
    code: "needs_recovery",
    detail: "\u001b[31mred",
    retryAfterMs,
  };
  coordinator.lies = {
    respond: (_request, response) => {
      const headers = { "content-type": "application/problem+json", ...(header && { "retry-after": header }) };
      response.writeHead(status, headers).end(JSON.stringify(problem));
      return true;
    },
  };
  const error = await refusal(verify());
  expect(error).toMatchObject({ code: "not_ready", got: `${status} "needs_recovery"`, retryAfterMs: want });
  // What strangers write is shown as text.
  expect(error.message).toContain(String.raw`\u001b`);
});

test("a Coordinator that refuses says why, and is not asked again", async () => {
  const problem = { type: "about:blank", title: "", status: 413, code: "request_too_large", detail: "no" };
  coordinator.lies = {
    respond: (_request, response) => {
      json(413, JSON.stringify(problem), "application/problem+json")(response);
      return true;
    },
  };
  expect(await refusal(verify())).toMatchObject({ code: "request_refused", got: '413 "request_too_large"' });
  expect(coordinator.asked).toEqual(["/v1/attest"]);
});

test("who does not answer is waited for no longer than said, in the middle of a body as well", async () => {
  for (const start of ["", "{"]) {
    coordinator.lies = {
      respond: (_request, response) => {
        if (start !== "") response.writeHead(200, { "content-type": "application/json" }).write(start);
        return true;
      },
    };
    expect((await refusal(verify({ timeoutMs: 100 }))).code).toBe("unreachable");
  }
  expect((await refusal(verify({ signal: AbortSignal.abort() }))).code).toBe("unreachable");
});

test.each(["ftp://host", "https://user:secret@host", "https://host/?a", "https://host/#a", "host:1314", "", "//host"])(
  "%j is no address",
  async (address) => {
    expect((await refusal(verify({ url: address }))).code).toBe("invalid_option");
    expect(coordinator.asked).toEqual([]);
  },
);

test("nobody is asked for more than a deployment has", async () => {
  const step = { transition: "", manifest: "", annex: null };
  coordinator.lies = { answer: (answer) => ({ ...answer, history: Array.from({ length: 100_000 }, () => step) }) };
  expect((await refusal(verify())).code).toBe("unexpected_answer");
  expect(coordinator.asked).toEqual(["/v1/attest"]);
});

test("a history that grew in between is read as far as the evidence goes", async () => {
  const before = coordinator.state;
  const manifest = coordinator.manifest;
  let after = before;
  await coordinator.set({ NotBefore: "2026-05-03T00:00:00Z" });
  after = coordinator.state;
  coordinator.state = before;
  coordinator.lies = {
    respond: ({ url: path }) => {
      if (path !== "/v1/attest") coordinator.state = after;
      return false;
    },
  };
  expect((await verify({ manifest })).history).toHaveLength(2);
  coordinator.state = before;
});

test("a deployment is followed over a set that owners signed, and over a recovery", async () => {
  const start = coordinator.state;
  const before = await verify();
  await coordinator.set({ NotBefore: "2026-05-04T00:00:00Z" }, [ada]);
  const after = await followDeployment(before);
  expect(after).toMatchObject({ manifest: { generation: 3, sha256: sha256Hex(coordinator.manifest) } });
  expect(after.history.slice(0, 2)).toEqual(before.history);
  expect(after.meshCa.keySha256).not.toBe(before.meshCa.keySha256);
  await coordinator.recover();
  expect((await followDeployment(after)).meshCa.keySha256).not.toBe(after.meshCa.keySha256);

  // Rolled back, whatever it shows: what was known is not in the history any more.
  coordinator.state = start;
  expect(await refusal(followDeployment(after))).toMatchObject({
    code: "not_continued",
    want: expect.stringContaining(after.transition),
  });
  // Or another change in the place of it.
  await coordinator.set({ NotBefore: "2026-05-05T00:00:00Z" }, [ben]);
  expect((await refusal(followDeployment(after))).code).toBe("not_continued");
  expect((await followDeployment(before)).manifest.generation).toBe(3);
  coordinator.state = start;
});

test("a set that no owner signed is not followed, and neither is what was not verified here", async () => {
  const start = coordinator.state;
  const before = await verify();
  await coordinator.set({ WorkloadOwnerKeyDigests: [] }, [eve]);
  expect((await refusal(followDeployment(before))).code).toBe("unauthorized_history");
  coordinator.state = start;
  expect((await refusal(followDeployment({ ...before }))).code).toBe("invalid_option");
});
