import type { Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { issueCertificate, vcekExtensions, amdSigner } from "../attestation/simulated/certificates.ts";
import { MACHINE_TCB } from "../attestation/simulated/machine.ts";
import { CHIP_ID } from "../attestation/snp/test-vendor.ts";
import { canonicalJson } from "../bytes/canonical-json.ts";
import { toBase64 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import type { Statement } from "./statement-format.ts";
import { COORDINATOR_HASH, NOW, TestCoordinator, WEB_HASH } from "./test-coordinator.ts";
import {
  toStatement,
  verifyDeployment,
  VerifyRefusal,
  verifyStatement,
  type VerifyStatementOptions,
} from "./verifier.ts";

const ADDRESS = "127.121.0.2";

let coordinator: TestCoordinator;
let server: Server;
let url: string;
let statement: Uint8Array;

beforeAll(async () => {
  coordinator = await TestCoordinator.create();
  await coordinator.set({ NotBefore: "2026-05-01T00:00:00Z" });
  ({ server, url } = await coordinator.listen(ADDRESS));
  statement = await toStatement(await verify());
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function verify(policies = true) {
  return verifyDeployment({ url, manifest: coordinator.manifest, allowInsecure: true, now: () => NOW, policies });
}

function check(bytes: Uint8Array | string, options: VerifyStatementOptions = {}) {
  return verifyStatement(bytes, { allowInsecure: true, now: () => NOW, manifest: coordinator.manifest, ...options });
}

async function codeOf(verification: Promise<unknown>): Promise<string> {
  try {
    await verification;
    return "verified";
  } catch (error) {
    if (error instanceof VerifyRefusal) return error.code;
    throw error;
  }
}

/** The statement with something changed in it, and written in its one form. */
function changed(change: (statement: Statement) => void): string {
  const document = JSON.parse(Buffer.from(statement).toString()) as Statement;
  change(document);
  return canonicalJson(document);
}

test("a statement says what was verified, and after which signed time, without the deployment", async () => {
  const asked = coordinator.asked.length;
  const facts = await check(statement);
  const { url: _, verifiedAt: __, coordinator: own, ...known } = await verify();
  // Another report of the same VM, for another nonce.
  const claims = { ...own.claims, reportData: expect.any(String), reportId: expect.any(String) };
  expect(facts).toEqual({
    ...known,
    coordinator: { ...own, claims },
    after: { time: "2020-01-01T00:00:00.000Z", what: "notBefore of the certificate of SEV-VCEK" },
    manifestAtHand: true,
    unsigned: { url, verifiedAt: NOW.toISOString() },
  });
  expect(coordinator.asked.slice(asked).filter((path) => path === "/v1/attest")).toHaveLength(1);
  expect((await verifyStatement(statement, { allowInsecure: true })).manifestAtHand).toBe(false);
});

test("it is an in-toto statement about the manifest", () => {
  const { _type, subject, predicateType } = JSON.parse(Buffer.from(statement).toString()) as Statement;
  expect({ _type, subject, predicateType }).toEqual({
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ name: "manifest.json", digest: { sha256: sha256Hex(coordinator.manifest) } }],
    predicateType: "https://contrast-mesh.example/attestation/v1",
  });
});

test("a time that is written there and signed by nobody changes nothing that is said", async () => {
  const facts = await check(statement);
  const edited = await check(changed(({ predicate }) => (predicate.verifiedAt = "2031-01-01T00:00:00.000Z")));
  expect(edited).toEqual({ ...facts, unsigned: { url, verifiedAt: "2031-01-01T00:00:00.000Z" } });
});

test.each<[code: string, what: string, change: (statement: Statement) => void]>([
  ["nonce_not_bound", "another nonce", ({ predicate }) => (predicate.answer.nonce = "00".repeat(32))],
  ["nonce_not_bound", "another random part of the nonce", ({ predicate }) => (predicate.random = "00".repeat(32))],
  ["nonce_not_bound", "one more document in the nonce", ({ predicate }) => predicate.bound.push("ff".repeat(32))],
  ["nonce_not_bound", "nothing in the nonce", ({ predicate }) => (predicate.bound = [])],
  ["malformed_statement", "documents in another order", ({ predicate }) => predicate.bound.reverse()],
  ["malformed_statement", "a history without its end", ({ predicate }) => predicate.transitions.push("AAAA")],
  ["broken_history", "a swapped history", ({ predicate }) => predicate.transitions.reverse()],
  ["broken_history", "a cut history", ({ predicate }) => predicate.transitions.pop()],
  ["broken_history", "a history of less", ({ predicate }) => predicate.answer.history.shift()],
  ["malformed_statement", "a manifest too few", ({ predicate }) => (predicate.manifests = {})],
  ["malformed_statement", "a policy too few", ({ predicate }) => delete predicate.policies[COORDINATOR_HASH]],
  ["malformed_statement", "a manifest too many", ({ predicate }) => (predicate.manifests["00".repeat(32)] = "AAAA")],
  ["malformed_statement", "an annex too many", ({ predicate }) => (predicate.annexes["00".repeat(32)] = "AAAA")],
  ["digest_mismatch", "another policy", ({ predicate }) => (predicate.policies[WEB_HASH] = "AAAA")],
  [
    "digest_mismatch",
    "another manifest of before",
    ({ predicate }) => {
      for (const digest of Object.keys(predicate.manifests)) predicate.manifests[digest] = "AAAA";
    },
  ],
  ["malformed_statement", "another subject", ({ subject: [one] }) => (one.digest.sha256 = "00".repeat(32))],
  ["malformed_statement", "another member", (document) => Object.assign(document, { verified: true })],
  ["malformed_statement", "another version", ({ predicate }) => Object.assign(predicate, { version: 2 })],
])("%s: %s", async (code, _what, change) => {
  expect(await codeOf(check(changed(change)))).toBe(code);
});

test("no other bytes are the same statement", async () => {
  const text = Buffer.from(statement).toString();
  const pretty = JSON.stringify(JSON.parse(text), undefined, 2);
  const twice = text.replace('"predicateType":', '"predicateType":"x","predicateType":');
  for (const other of [` ${text}`, `${text}\n`, pretty, twice, `\uFEFF${text}`, text.slice(0, -1), "", "null"]) {
    expect(await codeOf(check(other))).toBe("malformed_statement");
  }
  expect(await codeOf(check(new Uint8Array(96 * 2 ** 20 + 1)))).toBe("malformed_statement");
});

test("a statement is compared with the manifest and the policy at hand", async () => {
  expect(await codeOf(check(statement, { manifest: coordinator.manifestOf({}) }))).toBe("manifest_mismatch");
  expect(await codeOf(check(statement, { policy: WEB_HASH }))).toBe("not_coordinator");
  expect(await codeOf(check(statement, { policy: COORDINATOR_HASH }))).toBe("verified");
  expect(await codeOf(check(statement, { allowInsecure: false }))).toBe("insecure_not_allowed");
});

test("what was signed later than now shows a wrong clock", async () => {
  expect(await codeOf(check(statement, { now: () => new Date("2019-12-31T00:00:00Z") }))).toBe("statement_from_future");
  expect(await codeOf(check(statement, { now: () => new Date("no time") }))).toBe("statement_from_future");
});

test("an old report does not pass for a newer one beside a certificate of today", async () => {
  // The vendor has signed the same chip anew since: anybody can fetch that, and put it beside the report of before.
  const renewed = issueCertificate(
    {
      subject: "SEV-VCEK",
      issuer: "SEV-Milan",
      publicKey: coordinator.vendor.endorsement.publicKey,
      serial: 0,
      extensions: vcekExtensions("Milan", MACHINE_TCB, CHIP_ID),
      notBefore: new Date("2026-05-30T00:00:00Z"),
      notAfter: new Date("2040-01-01T00:00:00Z"),
    },
    amdSigner(coordinator.vendor.ask.privateKey),
  );
  const forged = changed(({ predicate: { answer, bound } }) => {
    if (answer.evidence.kind !== "snp") throw new Error("no report");
    answer.evidence.certificates[0] = toBase64(renewed);
    bound.push(sha256Hex(renewed));
    bound.sort();
  });
  expect(await codeOf(check(forged))).toBe("nonce_not_bound");
  const unbound = changed(({ predicate: { answer } }) => {
    if (answer.evidence.kind !== "snp") throw new Error("no report");
    answer.evidence.certificates[0] = toBase64(renewed);
  });
  expect(await codeOf(check(unbound))).toBe("nonce_not_bound");

  // Where the deployment itself shows it, the statement says the later time.
  coordinator.lies = {
    answer: (answer) => {
      if (answer.evidence.kind !== "snp") return answer;
      const [, ...issuers] = answer.evidence.certificates;
      return { ...answer, evidence: { ...answer.evidence, certificates: [toBase64(renewed), ...issuers] } };
    },
  };
  const today = await check(await toStatement(await verify()));
  expect(today.after.time).toBe("2026-05-30T00:00:00.000Z");
  coordinator.lies = {};
});

test("a certificate that the evidence does not need says nothing about its time", async () => {
  const { publicKey, privateKey } = coordinator.vendor.ask;
  const stranger = issueCertificate(
    {
      subject: "somebody",
      issuer: "somebody",
      publicKey,
      serial: 1,
      extensions: new Map(),
      notBefore: new Date("2026-05-31T00:00:00Z"),
      notAfter: new Date("2040-01-01T00:00:00Z"),
    },
    amdSigner(privateKey),
  );
  coordinator.lies = {
    answer: (answer) => {
      if (answer.evidence.kind !== "snp") return answer;
      const certificates = [...answer.evidence.certificates, toBase64(stranger)];
      return { ...answer, evidence: { ...answer.evidence, certificates } };
    },
  };
  // Its maker does not get one either.
  expect(await codeOf(verify().then(toStatement))).toBe("nonce_not_bound");
  coordinator.lies = {};
});

test("several Coordinators behind one address, each with its own chip, make a statement all the same", async () => {
  const { privateKey } = coordinator.vendor.ask;
  const leaves = ["2026-01-01", "2026-02-01", "2026-03-01"].map((day) =>
    issueCertificate(
      {
        subject: "SEV-VCEK",
        issuer: "SEV-Milan",
        publicKey: coordinator.vendor.endorsement.publicKey,
        serial: 0,
        extensions: vcekExtensions("Milan", MACHINE_TCB, CHIP_ID),
        notBefore: new Date(`${day}T00:00:00Z`),
        notAfter: new Date("2040-01-01T00:00:00Z"),
      },
      amdSigner(privateKey),
    ),
  );
  let turn = 0;
  coordinator.lies = {
    answer: (answer) => {
      if (answer.evidence.kind !== "snp") return answer;
      const [, ...issuers] = answer.evidence.certificates;
      const leaf = toBase64(leaves[turn++ % leaves.length] ?? new Uint8Array());
      return { ...answer, evidence: { ...answer.evidence, certificates: [leaf, ...issuers] } };
    },
  };
  expect((await check(await toStatement(await verify()))).after.time).toMatch(/^2026-0[123]-01/);
  // One that brings others each time is not followed for ever.
  coordinator.lies = {
    answer: (answer) => {
      if (answer.evidence.kind !== "snp") return answer;
      const fresh = issueCertificate(
        {
          subject: "somebody",
          issuer: "somebody",
          publicKey: coordinator.vendor.ask.publicKey,
          serial: ++turn,
          extensions: new Map(),
          notBefore: new Date("2019-01-01T00:00:00Z"),
          notAfter: new Date("2040-01-01T00:00:00Z"),
        },
        amdSigner(privateKey),
      );
      const certificates = [...answer.evidence.certificates, toBase64(fresh)];
      return { ...answer, evidence: { ...answer.evidence, certificates } };
    },
  };
  expect(await codeOf(verify().then(toStatement))).toBe("changed_meanwhile");
  coordinator.lies = {};
});

test("a deployment that changes while it is kept is not kept half", async () => {
  const verified = await verify();
  const before = coordinator.state;
  await coordinator.set({ NotBefore: "2026-05-02T00:00:00Z" });
  expect(await codeOf(toStatement(verified))).toBe("manifest_mismatch");
  coordinator.state = before;
});
