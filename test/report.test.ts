import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, startChromium } from "./browser/chromium.ts";
import { toHex } from "../bytes/encode.ts";
import { printable } from "../report/print.ts";
import { type AuditFacts, auditFacts } from "../report/facts.ts";
import { reportPage } from "../report/page.ts";
import { createTestAudit, policyOf } from "../report/test-audit.ts";
import { TIMELINE_CODES } from "../report/timeline-entry.ts";
import { spkiDigest } from "../pki/keys.ts";
import { createCliDeployment } from "./cli-deployment.ts";

/** `contrast verify` of a deployment with a past, as programs; and its report in a browser. */

const deployment = createCliDeployment("127.98.0.1");
const { contrast, editManifest, file, generate } = deployment;
const resources = join(deployment.directory, "deployment");
const pages = mkdtempSync(join(tmpdir(), "report-test-"));

type Facts = AuditFacts & { readonly report: string; readonly written: readonly string[] };
let facts: Facts;
let text: string;

/**
 * Six manifests: the first one, another image, older firmware, a pod less, another owner, nobody. Under the fourth a secret
 * gets two versions, and a volume a leave to format.
 */
beforeAll(async () => {
  cpSync(join(import.meta.dirname, "../demo/deployment/vote-bot.yml"), join(resources, "vote-bot.yml"));
  await succeed(generate());
  await deployment.startCoordinator("state");
  const minimum = (SNPVersion: number): void =>
    editManifest((manifest) => {
      const MinimumTCB = { BootloaderVersion: 4, TEEVersion: 0, SNPVersion, MicrocodeVersion: 219 };
      const snp = [{ ProductName: "Milan", TrustedMeasurement: "2c".repeat(48), MinimumTCB }];
      manifest["ReferenceValues"] = { ...(manifest["ReferenceValues"] as object), snp };
    });
  const owners = (...keys: readonly KeyObject[]): void =>
    editManifest((manifest) => {
      manifest["WorkloadOwnerKeyDigests"] = keys.map((key) => toHex(spkiDigest(key)));
    });
  minimum(24);
  await succeed(contrast("set"));
  const web = join(resources, "web.yml");
  writeFileSync(web, readFileSync(web, "utf8").replace("contrast/emojivoto:0.1.0", "contrast/emojivoto:0.2.0"));
  await succeed(generate());
  await succeed(contrast("set"));
  minimum(8);
  await succeed(contrast("set"));
  rmSync(join(resources, "vote-bot.yml"));
  await succeed(generate());
  await succeed(contrast("set"));
  writeFileSync(file("value"), "hunter2");
  for (const reader of ["web", "workload:another"]) {
    await succeed(contrast("secret", "set", "db", "--for", "web", "--for", reader, "--from-file", file("value")));
  }
  await succeed(contrast("volume", "allow-format", "data", "--for", "web"));
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const other = file("other-owner.pem");
  writeFileSync(other, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  owners(publicKey);
  await succeed(contrast("set"));
  owners();
  await succeed(contrast("set", "--workload-owner-key", other));
  text = await succeed(contrast("verify"));
  facts = (await deployment.result("verify")) as unknown as Facts;
}, 300_000);

afterAll(async () => {
  await deployment.remove();
  rmSync(pages, { recursive: true });
});

async function succeed(ended: ReturnType<typeof contrast>): Promise<string> {
  const { code, stdout, stderr } = await ended;
  expect(code, stderr).toBe(0);
  return stdout;
}

test("the timeline has what happened, at the manifest that began it", () => {
  expect(facts.timeline.map(({ generation, level, code }) => `${generation} ${level} ${code}`)).toEqual([
    "1 warning insecure_reference_values",
    "1 warning unpinned_machines",
    "3 warning lowered_minimum",
    "3 note changed_reference_values",
    "4 warning removed_pod",
    "4 note secret_readers",
    "4 warning format_allowed",
    "5 warning changed_owner",
    "5 warning changed_owner",
    "6 note immutable",
    "6 warning changed_owner",
  ]);
  const [image] = facts.history[1]?.changes?.filter(({ path }) => path.endsWith(".image")) ?? [];
  expect(image).toMatchObject({ kind: "changed", subject: "Deployment emojivoto/web" });
  expect([image?.from, image?.to]).toEqual(['"contrast/emojivoto:0.1.0"', '"contrast/emojivoto:0.2.0"']);
  expect(facts.policies.map(({ pod, active }) => [pod, active])).toEqual([
    ["Deployment emojivoto/coordinator", true],
    ["Deployment emojivoto/web", true],
    ["Deployment emojivoto/vote-bot", false],
    ["Deployment emojivoto/web", false],
  ]);
});

test("the text is short: the warnings that matter, and where the report is", () => {
  expect(text).toMatch(/^result: verified\n/);
  expect(text.match(/generation/g)).toHaveLength(1);
  expect(text).toContain(
    "\n  manifest 1: trusts any Milan: anybody with physical access to one can impersonate a VM\n",
  );
  expect(text).toContain("\n  manifest 3: lowers $.ReferenceValues.snp[0].MinimumTCB.SNPVersion from 24 to 8\n");
  expect(text).toContain("\n  manifest 4: Deployment emojivoto/vote-bot may no longer run\n");
  expect(text).toContain(`\nreport: ${file("verify/report.html")}\n`);
});

test("docs/verify.md explains every key and every code, and no others", () => {
  const docs = readFileSync(join(import.meta.dirname, "../docs/verify.md"), "utf8");
  const [, warnings = "", json = ""] = docs.split(/^## (?:The warnings|JSON)$/m);
  const explained = (part: string): string[] => Array.from(part.matchAll(/^\| `([^`]+)`/gm), ([, key = ""]) => key);
  expect(explained(warnings)).toEqual([...TIMELINE_CODES]);
  expect(explained(json).toSorted()).toEqual([...new Set(keysOf(facts, ""))].toSorted());
});

/** What stands in the evidence, the manifest and the policies has other names for its keys. */
const OTHERS = new Set(["evidence.fields", "referenceValues", "policies[].data"]);

function keysOf(value: unknown, path: string): string[] {
  if (path === "history[].changes" && (value === null || (value as readonly unknown[]).length === 0)) return [];
  if (OTHERS.has(path) || typeof value !== "object" || value === null) return [path];
  if (!Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, inner]) => keysOf(inner, path === "" ? key : `${path}.${key}`));
  }
  const isOfObjects = typeof value[0] === "object";
  return isOfObjects ? value.flatMap((item) => keysOf(item, `${path}[]`)) : [path];
}

describe.skipIf(!existsSync(CHROMIUM))(`the report in a browser (skipped without ${CHROMIUM})`, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startChromium();
  }, 120_000);
  afterAll(() => browser.close());

  interface Opened {
    readonly page: Page;
    /** What it asked for beside itself, what it said on the console, and what went wrong. */
    readonly noise: string[];
  }

  async function open(path: string, width = 1280, colorScheme: "light" | "dark" = "light"): Promise<Opened> {
    const context = await browser.newContext({ offline: true, viewport: { width, height: 900 }, colorScheme });
    const page = await context.newPage();
    const noise: string[] = [];
    const url = pathToFileURL(path).href;
    page.on("request", (request) => {
      if (request.url() !== url) noise.push(`request ${request.url()}`);
    });
    page.on("console", (message) => noise.push(`console ${message.text()}`));
    page.on("pageerror", (error) => noise.push(`error ${error.message}`));
    page.on("dialog", (dialog) => {
      noise.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    await page.goto(url);
    return { page, noise };
  }

  const run = async <T>({ page }: Opened, script: string): Promise<T> => (await page.evaluate(script)) as T;
  const overflow = (opened: Opened): Promise<number> =>
    run(opened, "document.documentElement.scrollWidth - window.innerWidth");
  const unfold = (opened: Opened): Promise<void> =>
    run(opened, "for (const fold of document.querySelectorAll('details')) fold.open = true");

  test.each([
    ["light", 1280],
    ["dark", 1280],
    ["light", 360],
    ["dark", 360],
  ] as const)(
    "in %s, %i wide: nothing is asked for, nothing sticks out, everything can be read",
    async (scheme, width) => {
      const opened = await open(facts.report, width, scheme);
      expect(await opened.page.locator("h1, h2").allTextContents()).toEqual([
        "Contrast verification report",
        "Summary",
        "Chain of trust",
        "Evidence of the Coordinator",
        "Manifests",
        "Warnings",
        "Secrets and volumes",
        "Policies",
        "Owners",
        "Certificates",
        "Check it yourself",
      ]);
      expect(await overflow(opened)).toBe(0);
      await unfold(opened);
      expect(await overflow(opened)).toBe(0);
      const contrasts = await run<{ body: number; least: number; where: string }>(opened, CONTRASTS);
      expect(contrasts.body).toBeGreaterThanOrEqual(7);
      expect(contrasts.least, contrasts.where).toBeGreaterThanOrEqual(4.5);
      const path = join(pages, `${scheme}-${width}.png`);
      await opened.page.screenshot({ path, clip: { x: 0, y: 0, width, height: 900 } });
      expect(readFileSync(path).length).toBeGreaterThan(10_000);
      expect(opened.noise).toEqual([]);
      await opened.page.context().close();
    },
    120_000,
  );

  test("every fact is on it", async () => {
    const opened = await open(facts.report);
    const shown = await run<string>(opened, "document.documentElement.textContent");
    const { report: _report, written: _written, ...found } = facts;
    const values = valuesOf(found);
    expect(values.length).toBeGreaterThan(200);
    expect(values.filter((value) => !shown.includes(value))).toEqual([]);
    await opened.page.context().close();
  });

  test("the verdict, the drawing, a difference and a warning say what happened", async () => {
    const { page } = await open(facts.report);
    expect(await page.locator(".verdict").innerText()).toMatch(/^INSECURE: software TEE.*enforces manifest 6/);
    expect(await page.locator("svg .title").allTextContents()).toEqual([
      "Root key of a software TEE",
      "Key of the chip",
      "Report of the Coordinator's VM",
      "Coordinator",
      "Manifest 6",
      "Root CA",
      "Mesh CA",
      "Workloads",
    ]);
    expect(await page.locator("svg .line").allTextContents()).toContain(`SHA-256 ${facts.manifest.slice(0, 24)}…`);
    const fourth = page.locator("#history > details").nth(2).locator("details").nth(1);
    expect(await fourth.locator("summary").first().textContent()).toMatch(/^\s*Amendment 2: .*secret db: version 2/s);
    expect(await fourth.locator("ins").allTextContents()).toContain('"workload:another"');
    expect(await page.locator("#secrets tbody tr").first().textContent()).toMatch(/db\s*2\s*version 2:.*version 1:/s);
    const second = page.locator("#history > details").nth(4);
    expect(await second.locator("del").allTextContents()).toContain('"contrast/emojivoto:0.1.0"');
    expect(await second.locator("ins").allTextContents()).toContain('"contrast/emojivoto:0.2.0"');
    expect(await page.locator("#timeline tbody tr").nth(2).innerText()).toMatch(
      /Manifest 3\s+warning\s+lowers .*SNPVersion from 24 to 8\s+lowered_minimum/,
    );
    expect(await page.locator("#evidence .rows").first().locator("tbody tr th").first().innerText()).toMatch(
      /^✓\sroot key$/,
    );
    await page.context().close();
  });

  test("folds open by the keyboard", async () => {
    const { page } = await open(facts.report);
    const fold = page.locator("#policies > details").first();
    expect(await fold.locator("td").first().isVisible()).toBe(false);
    await page.keyboard.press("Tab");
    expect(await page.locator(":focus").innerText()).toBe("Skip to the summary");
    await fold.locator("summary").first().focus();
    await page.keyboard.press("Enter");
    expect(await fold.locator("td").first().isVisible()).toBe(true);
    await page.context().close();
  });

  test("on paper everything is unfolded", async () => {
    const { page } = await open(facts.report);
    const inner = page.locator("#policies > details pre, #history > details:last-child td").first();
    expect(await inner.isVisible()).toBe(false);
    await page.emulateMedia({ media: "print" });
    expect(await inner.isVisible()).toBe(true);
    expect((await page.pdf()).length).toBeGreaterThan(50_000);
    await page.context().close();
  }, 120_000);

  test("strangers' names neither run nor break it, and a large deployment's page opens", async () => {
    const audit = await createTestAudit();
    const name = `</code><script>alert(1)</script><img src="http://127.98.0.1/x" onerror="alert(2)">\u202e`;
    const long = "n".repeat(900_000);
    const strange = policyOf({ name }, { name, image: name, [name]: { [name]: name } });
    const hostile = [
      [strange, { SANs: ["x"], WorkloadSecretID: name }],
      [policyOf({ name: "long" }, { image: long }), { SANs: ["y"], WorkloadSecretID: long }],
    ];
    const many = Array.from({ length: 500 }, (_, index) => [policyOf({ name: `pod-${index}` }), { SANs: ["x"] }]);
    const deployments = {
      hostile: [{}, { pods: hostile }, {}],
      large: Array.from({ length: 200 }, (_, index) => ({ pods: many.slice(0, 300 + index) })),
    } as unknown as Readonly<Record<string, Parameters<typeof audit.input>[0]>>;
    for (const [title, drafts] of Object.entries(deployments)) {
      const path = join(pages, `${title}.html`);
      writeFileSync(path, reportPage(auditFacts(audit.input(drafts))));
      const opened = await open(path, 360);
      expect(await overflow(opened)).toBe(0);
      expect(await opened.page.locator("script, img").count()).toBe(0);
      expect(await opened.page.locator("#check").innerText()).toContain("contrast verify");
      expect(opened.noise).toEqual([]);
      await opened.page.context().close();
    }
  }, 240_000);
});

/** Every text and number of the facts, as the page writes them. */
function valuesOf(value: unknown): string[] {
  if (typeof value === "string") return [value.split(/[\n\t]/).map(printable)].flat();
  if (typeof value === "number") return [String(value)];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(valuesOf) : [];
}

/** Of the body's text, and the least of all texts that are seen (WCAG 2.2, relative luminance and contrast ratio). */
const CONTRASTS = `(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = (color) => {
    const [r, g, b] = parse(color).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const box = element.closest("g")?.querySelector("rect");
    if (box && !element.classList.contains("verb")) return getComputedStyle(box).fill;
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (parse(color)[3] !== 0) return color;
    }
  };
  let [least, where] = [Infinity, ""];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
    if (!hasText || element.tagName === "title") continue;
    const style = getComputedStyle(element);
    const found = ratio(element.closest("svg") ? style.fill : style.color, behind(element));
    if (found < least) [least, where] = [found, element.outerHTML.slice(0, 100)];
  }
  const body = getComputedStyle(document.body);
  return { body: ratio(body.color, body.backgroundColor), least, where };
})()`;
