import { beforeAll, expect, test } from "vitest";
import { EMPTY_ANNEX, type Annex } from "../manifest/annex.ts";
import { annexOf, digest, secret, version } from "../manifest/test-annex.ts";
import type { AmendmentRecord } from "./annex-facts.ts";
import { type AuditFacts, auditFacts } from "./facts.ts";
import { reportPage } from "./page.ts";
import { createTestAudit, hashOf, OWNER, policyOf, type TestAudit } from "./test-audit.ts";

let audit: TestAudit;
beforeAll(async () => {
  audit = await createTestAudit();
});

const web = policyOf({ name: "web" });
const drafts = [{ pods: [[web, { SANs: ["web"], WorkloadSecretID: "web" }]] }, {}] as const;

/** Annexes one after the other, each under a manifest of this number; the last is in force. */
function factsOf(...annexes: readonly (readonly [generation: number, after: Annex, kind?: "use"])[]): AuditFacts {
  const amendments = annexes.map(([generation, after, kind], index): AmendmentRecord => ({
    generation,
    kind: kind ?? "amendment",
    transition: digest(index + 500),
    annex: digest(index + 600),
    signedBy: kind === "use" ? [] : [OWNER],
    before: annexes[index - 1]?.[1] ?? EMPTY_ANNEX,
    after,
  }));
  const content = annexes.at(-1)?.[1] ?? EMPTY_ANNEX;
  return auditFacts(audit.input([drafts[1], drafts[0]], { amendments, annex: { digest: digest(9), content } }));
}

const one = annexOf({ db: secret(1, version(1)) });
const policy = `policy:${hashOf(web)}`;
const two = annexOf(
  { db: secret(2, version(2, digest(2), [policy, "workload:web"]), version(1)), gone: secret(4) },
  { web: { data: { allowed: 1, used: 0 } } },
);
const used = annexOf(Object.fromEntries(two.secrets), { web: { data: { allowed: 1, used: 1 } } });

test("secrets have versions, and readers with the pods that they are", () => {
  expect(factsOf([1, one], [2, two], [2, used, "use"])).toMatchObject({
    annex: digest(9),
    generation: 2,
    secrets: [
      {
        name: "db",
        latestVersion: 2,
        versions: [
          {
            version: 2,
            ciphertext: digest(2),
            readers: [
              { reader: policy, pods: ["Deployment shop/web"] },
              { reader: "workload:web", pods: ["Deployment shop/web"] },
            ],
          },
          { version: 1 },
        ],
      },
      { name: "gone", latestVersion: 4, versions: [] },
    ],
    volumes: [
      { volume: "data", workloadSecretId: "web", pods: ["Deployment shop/web"], formatsAllowed: 1, formatsUsed: 1 },
    ],
  });
});

test("amendments have a manifest each, and count no manifest", () => {
  const { amendments, history } = factsOf([1, one], [2, two], [2, used, "use"]);
  expect(history.map(({ generation }) => generation)).toEqual([1, 2]);
  expect(amendments.map(({ number, generation, kind, signedBy }) => [number, generation, kind, signedBy])).toEqual([
    [1, 1, "amendment", [OWNER]],
    [2, 2, "amendment", [OWNER]],
    [3, 2, "use", []],
  ]);
});

test("the timeline says who reads a secret from now on, and what formats are allowed and done", () => {
  const codes = new Set(["format_allowed", "formatted", "secret_readers"]);
  const told = factsOf([1, one], [2, two], [2, used, "use"]).timeline.filter(({ code }) => codes.has(code));
  expect(told.map(({ generation, level, code, text }) => `${generation} ${level} ${code}: ${text}`)).toEqual([
    `2 note secret_readers: the secret db is for other readers, too: ${policy}`,
    "2 warning format_allowed: the volume web/data may be formatted once more, whatever is on it",
    "2 note formatted: the volume web/data was formatted, by leave 1 of 1",
  ]);
});

test("the page has them where the manifest is that was in force", () => {
  const page = reportPage(factsOf([1, one], [2, two], [2, used, "use"]));
  const [, , second = "", first = ""] = page
    .split(/<h3>Manifest \d/)
    .map((part, index) => (index === 0 ? "" : part))
    .toSpliced(1, 0, "");
  expect(second).toContain("Amendment 2");
  expect(second).toContain("nobody: the Coordinator counted it");
  expect(first).toContain("Amendment 1");
  expect(first).not.toContain("Amendment 2");
  expect(page).toContain("removed");
  expect(page).toContain("annex.3.json");
});

test("a deployment without amendments says so", () => {
  const facts = auditFacts(audit.input([{}]));
  expect(facts).toMatchObject({ annex: null, amendments: [], secrets: [], volumes: [] });
  expect(reportPage(facts)).toContain("owners have set no secret by name");
});

test("a workload's ID can be anything, and stays text", () => {
  for (const id of ["<script>alert(1)</script>", "a\u001b[31m\u202eb\u0000", `"><img src=x onerror=alert(1)>`]) {
    const annex = annexOf(
      { db: secret(1, version(1, digest(1), [`workload:${id}`])) },
      { [id]: { data: { allowed: 1, used: 0 } } },
    );
    const page = reportPage(factsOf([1, annex]));
    expect(page).not.toMatch(/<script|<img/i);
    // oxlint-disable-next-line no-control-regex
    expect(page).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f\u202e]/);
  }
});

test("256 secrets with 64 readers each make a page that opens", () => {
  const readers = Array.from({ length: 8 }, (_, index) => `workload:${index}`);
  const all = Object.fromEntries(
    Array.from({ length: 256 }, (_, index) => [`s${index}`, secret(1, version(1, digest(index + 1), readers))]),
  );
  expect(reportPage(factsOf([1, annexOf(all)])).length).toBeLessThan(2_000_000);
});
