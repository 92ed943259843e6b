import { createHash } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { printable } from "./print.ts";
import { auditFacts, type AuditInput } from "./facts.ts";
import { reportPage } from "./page.ts";
import { createTestAudit, type Draft, policyOf, type TestAudit } from "./test-audit.ts";

let audit: TestAudit;

beforeAll(async () => {
  audit = await createTestAudit();
});

function pageOf(...drafts: readonly Draft[]): string {
  return reportPage(auditFacts(audit.input(drafts)));
}

const HOSTILE = [
  "<script>alert(1)</script>",
  `"><img src=x onerror=alert(1)>`,
  "' onmouseover='alert(1)",
  "</style></code></pre></svg><svg onload=alert(1)>",
  "-->]]>&lt;b&gt;",
  "safe\u202egpj.exe\u2066\u200b\u0000\u001b[31m\u007f\ud800\u2028",
  "\\u202e",
];

test("the same facts give the same bytes", () => {
  const input = audit.input([{ pods: [[policyOf({ name: "web" }), { SANs: ["web"] }]] }]);
  expect(reportPage(auditFacts(input))).toBe(reportPage(auditFacts(input)));
});

test("a report says what the evidence was made for", () => {
  const told = (changes: Partial<AuditInput>): readonly (string | undefined)[] => {
    const facts = auditFacts(audit.input([{}], changes));
    const { reference } = facts.evidence.comparisons.find(({ field }) => field === "REPORT_DATA") ?? {};
    return [reference, /for this very (\w+)/.exec(reportPage(facts))?.[1]];
  };
  expect(told({})).toEqual(["this connection", "connection"]);
  expect(told({ binding: "nonce" })).toEqual(["this nonce", "nonce"]);
});

test("the page allows its own style and nothing else, and has no script", () => {
  const page = pageOf({});
  const [, style = ""] = /<style>(.*?)<\/style>/s.exec(page) ?? [];
  const digest = createHash("sha256").update(style).digest("base64");
  expect(page).toContain(
    `content="default-src &#39;none&#39;; style-src &#39;sha256-${digest}&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"`,
  );
  expect(page).not.toMatch(/<script|<link|<iframe|<img|\son\w+=|style=|javascript:|https?:/i);
});

test("strangers' text stays text, whatever it is and wherever it stands", () => {
  const pods = HOSTILE.map((text) => {
    const policy = policyOf(
      { kind: text, namespace: text, name: text },
      { name: text, image: text, env: { [text]: text } },
    );
    return [policy, { SANs: ["web"], WorkloadSecretID: text }] as const;
  });
  const foreign = HOSTILE.filter((text) => text.isWellFormed() && !/[\u0000\u001b\u007f]/.test(text)).join("\n"); // oxlint-disable-line no-control-regex
  const page = pageOf({}, { pods: [...pods, [foreign, { SANs: ["foreign"] }]] }, {});
  const elements = new Set([...page.matchAll(/<([a-z0-9!]+)/gi)].map(([, name]) => name));
  expect([...elements].filter((name) => !OWN.has(name ?? ""))).toEqual([]);
  // oxlint-disable-next-line no-control-regex
  expect(page).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f\u200b\u202e\u2028\u2066]|\p{Cs}/u);
  expect(page).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  expect(page).toContain(printable("gpj.exe\u2066"));
});

const OWN = new Set(
  "! !doctype html head meta title style body a header h1 h2 h3 h4 main section nav ul ol li p strong table thead tbody tr th td caption code pre span details summary div dl dt dd del ins figure svg g rect text path time br wbr".split(
    " ",
  ),
);

test("a name of a megabyte is there once in each place that shows it whole, and nowhere in a heading", () => {
  const name = "n".repeat(400_000);
  const page = pageOf({}, { pods: [[policyOf({ name }), { SANs: ["web"], WorkloadSecretID: "s".repeat(400_000) }]] });
  expect(page.length).toBeLessThan(6_000_000);
  for (const [heading] of page.matchAll(/<(h[1-4]|summary|text|title)\b.*?<\/\1>/gs)) {
    expect(heading.length).toBeLessThan(2_000);
  }
});

test("500 pods and 200 manifests make a page that opens", () => {
  const pods = Array.from(
    { length: 500 },
    (_, index) => [policyOf({ name: `pod-${index}` }), { SANs: ["x"] }] as const,
  );
  const drafts = Array.from({ length: 200 }, (_, index): Draft => ({ pods: pods.slice(0, 300 + index) }));
  const page = pageOf(...drafts);
  expect(page.length).toBeLessThan(4_000_000);
  expect(page.match(/<h3>Manifest /g)).toHaveLength(200);
  // Every list that grows with the deployment is folded.
  expect(page.match(/<details open/g)).toHaveLength(1);
}, 120_000);
