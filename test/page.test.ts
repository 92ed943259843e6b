import { createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { source as axe } from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { spkiDigest } from "../pki/keys.ts";
import { buildPage } from "../release/build/page.ts";
import { NO_BROWSER, startChromium } from "./browser/chromium.ts";
import { type Answer, type Liar, startLiar } from "./browser/liar.ts";
import { createWebPki, trustWebPki } from "./browser/web-pki.ts";
import { type NginxServers, NO_NGINX, startNginxServers } from "./nginx.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/**
 * The page that verifies: Debian's Chromium, a Coordinator with a past, and nginx in between, which terminates TLS. The page
 * comes from `contrast verify --serve`, from a plain web server, or from a disk.
 */

const root = join(import.meta.dirname, "..");
const COORDINATOR = "127.105.0.1";
/** nginx: honest, a web server with the page, one that lies, and one that forgets what browsers need. */
const PROXY = "127.105.0.2";
const STATIC = "127.105.0.3";
const LIAR = "127.105.0.4";
const SILENT = "127.105.0.5";
/** Whatever runs would say so. */
const MARKUP = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`;
const PROBLEM = JSON.stringify({
  type: "about:blank",
  title: MARKUP,
  status: 503,
  code: "not_ready",
  detail: MARKUP,
  where: MARKUP,
  got: MARKUP,
  want: MARKUP,
  hint: MARKUP,
  retryAfterMs: 4000,
});

const deployment = createCliDeployment(COORDINATOR);
const { contrast, file, generate } = deployment;
const scratch = mkdtempSync(join(tmpdir(), "page-test-"));
const built = join(root, "dist", "verifier", "index.html");

const MISSING = NO_BROWSER ?? NO_NGINX;

describe.skipIf(MISSING !== undefined)(`the page${MISSING === undefined ? "" : ` (skipped: ${MISSING})`}`, () => {
  let browser: Browser;
  let coordinator: Program;
  let nginx: NginxServers;
  let liar: Liar;
  let serving: Program;
  let served: string;
  /** SHA-256 of the key that signed the second manifest. */
  let owner: string;
  let context: BrowserContext | undefined;

  beforeAll(async () => {
    await buildPage(root, join(root, "dist", "verifier"));
    await succeed(generate());
    coordinator = await deployment.startCoordinator("state");
    await succeed(contrast("set"));
    const web = join(deployment.directory, "deployment", "web.yml");
    writeFileSync(web, readFileSync(web, "utf8").replace("contrast/emojivoto:0.1.0", "contrast/emojivoto:0.2.0"));
    await succeed(generate());
    await succeed(contrast("set"));
    owner = toHex(spkiDigest(createPublicKey(readFileSync(file("workload-owner.pem"), "utf8"))));
    writeFileSync(file("value"), "hunter2");
    await succeed(contrast("secret", "set", "db", "--for", "web", "--from-file", file("value")));
    const pki = await createWebPki(join(scratch, "pki"), [PROXY, STATIC, LIAR, SILENT]);
    await trustWebPki(join(scratch, "home"), pki);
    liar = await startLiar(`${COORDINATOR}:1314`, LIAR);
    const pass = `proxy_pass http://${COORDINATOR}:1314`;
    nginx = await startNginxServers(join(scratch, "nginx"), pki, {
      [`${PROXY}:443`]: `location / { ${pass}; } location /below/ { ${pass}/; }`,
      [`${STATIC}:443`]: `root ${join(root, "dist", "verifier")};`,
      [`${LIAR}:443`]: `location / { proxy_pass http://${LIAR}:80; }`,
      [`${SILENT}:443`]: `location / { ${pass}; proxy_hide_header Access-Control-Allow-Origin; }`,
    });
    serving = startProgram(["cli/main.ts", "--output", "json", "verify", "--serve"]);
    served = await printedPage(serving);
    browser = await startChromium(join(scratch, "home"));
  }, 180_000);

  afterEach(async () => {
    await context?.close();
    liar.lie = (_, honest) => honest();
  });

  afterAll(async () => {
    await browser?.close();
    await nginx?.stop();
    await liar?.close();
    serving?.child.kill("SIGKILL");
    await deployment.remove();
    rmSync(scratch, { recursive: true });
  });

  interface Opened {
    readonly page: Page;
    /** Addresses that were asked, what was said on the console, and what went wrong. */
    readonly requests: string[];
    readonly noise: string[];
  }

  async function open(
    url: string,
    options: { width?: number; colorScheme?: "light" | "dark"; offline?: boolean } = {},
  ) {
    const { width = 1280, ...others } = options;
    context = await browser.newContext({ viewport: { width, height: 900 }, ...others });
    const opened: Opened = { page: await context.newPage(), requests: [], noise: [] };
    opened.page.on("request", (request) => opened.requests.push(`${request.method()} ${request.url()}`));
    opened.page.on("console", (message) => opened.noise.push(`console ${message.text()}`));
    opened.page.on("pageerror", (error) => opened.noise.push(`error ${error.message}`));
    opened.page.on("dialog", (dialog) => void dialog.dismiss().then(() => opened.noise.push("dialog")));
    opened.page.setDefaultTimeout(15_000);
    await opened.page.goto(url);
    return opened;
  }

  interface Asked {
    readonly manifest?: string;
    readonly insecure?: boolean;
  }

  /** @returns the title of what it says then */
  async function ask({ page }: Opened, url: string, { manifest = file("manifest.json"), insecure = true }: Asked = {}) {
    await page.setInputFiles("#manifest", manifest);
    await page.fill("#coordinator", url);
    await page.setChecked("#insecure", insecure);
    await page.click("#verify");
    return titleOf(page);
  }

  async function titleOf(page: Page): Promise<string> {
    await page.waitForSelector("#result:not([hidden])", { timeout: 30_000 });
    return page.locator("#result-title").innerText();
  }

  const found = (page: Page): Promise<string> => page.locator("#findings").innerText();

  const SIMULATED = "Simulated, nothing is proven about hardware; otherwise verified";
  const REFUSED = "Not verified: refused";
  const NO_ANSWER = "Not verified: there is no answer to judge";

  test("verifies through nginx, and shows what the report of the command line shows", async () => {
    const opened = await open(served);
    const title = await ask(opened, `https://${PROXY}`);
    expect(title, await found(opened.page)).toBe(SIMULATED);
    const { page } = opened;
    expect(await page.title()).toBe(`${SIMULATED} – Verify a deployment with Contrast`);
    expect(await page.locator("#findings .verdict").innerText()).toMatch(
      /INSECURE: software TEE.*enforces manifest 2/s,
    );
    expect(await page.locator("#findings h2").allTextContents()).toEqual([
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
    const changes = page.locator("#history > details").first();
    expect(await changes.locator("del").allTextContents()).toContain('"contrast/emojivoto:0.1.0"');
    expect(await changes.locator("ins").allTextContents()).toContain('"contrast/emojivoto:0.2.0"');
    expect(await changes.textContent()).toContain(owner);
    expect(await page.locator("#secrets tbody tr").first().textContent()).toMatch(/db\s*1\s*version 1/s);
    const comparisons = page.locator("#evidence > .rows tbody tr");
    expect(await comparisons.count()).toBeGreaterThan(5);
    expect(await comparisons.locator(".bad").count()).toBe(0);
    expect(await comparisons.filter({ hasText: "REPORT_DATA" }).innerText()).toContain("this nonce");
    expect(opened.noise).toEqual([]);
    // The manifest goes nowhere.
    expect(opened.requests.filter((request) => !request.includes(`https://${PROXY}/v1/`))).toEqual([`GET ${served}`]);
    expect(opened.requests.filter((request) => request.startsWith("POST"))).toEqual([
      `POST https://${PROXY}/v1/attest`,
    ]);
    expect(await page.evaluate("JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])")).toBe(
      '[0,0,""]',
    );
    // Another question has no answer yet.
    await page.fill("#coordinator", `https://${LIAR}`);
    expect(await page.locator("#result").isVisible()).toBe(false);
    expect(await page.title()).toBe("Verify a deployment with Contrast");
  });

  test("a simulated TEE is refused unless its box is ticked", async () => {
    const opened = await open(served);
    expect(await ask(opened, `https://${PROXY}`, { insecure: false })).toBe(REFUSED);
    expect(await found(opened.page)).toContain("insecure_not_allowed");
    // Nobody was asked to draw a report for it.
    expect(await opened.page.locator("#keep button").count()).toBe(0);
  });

  test("a plain web server, and the keyboard alone", async () => {
    const { page, noise } = await open(`https://${STATIC}/`);
    const stops: string[] = [];
    const next = async (): Promise<void> => {
      await page.keyboard.press("Tab");
      stops.push(await page.evaluate("document.activeElement.id || document.activeElement.innerText"));
    };
    await next();
    await next();
    const chooser = page.waitForEvent("filechooser");
    await page.keyboard.press("Space");
    await (await chooser).setFiles(file("manifest.json"));
    await next();
    await next();
    await page.keyboard.type(`${PROXY}/below`);
    await next();
    await next();
    await page.keyboard.press("Space");
    await next();
    await page.keyboard.press("Enter");
    expect(await titleOf(page)).toBe(SIMULATED);
    expect(stops).toEqual([
      "Skip to the form",
      "manifest",
      "from-coordinator",
      "coordinator",
      "More options",
      "insecure",
      "verify",
    ]);
    // The answer has the focus; what can be done with it is next.
    expect(await page.evaluate("document.activeElement.id")).toBe("result-title");
    await next();
    expect(stops.at(-1)).toBe("Save evidence.json");
    expect(noise).toEqual([]);
  });

  test("what is saved verifies later, from a disk and without a network", async () => {
    const first = await open(served);
    await ask(first, `https://${PROXY}`);
    const saved: Record<string, string> = {};
    for (const name of ["evidence.json", "report.html"]) {
      const download = first.page.waitForEvent("download");
      await first.page.click(`text="Save ${name}"`);
      saved[name] = join(scratch, name);
      await (await download).saveAs(saved[name]);
      await expect.poll(() => first.page.locator("#kept").innerText()).toBe(`Saved ${name}.`);
    }
    expect(first.noise).toEqual([]);
    const { evidence, report } = { evidence: saved["evidence.json"] ?? "", report: saved["report.html"] ?? "" };
    expect(readFileSync(report, "utf8")).toContain("Contrast verification report");

    await context?.close();
    const { page, noise, requests } = await open(pathToFileURL(built).href, { offline: true });
    // Dropped on the page: the files say what they are.
    await drop(page, [file("manifest.json"), evidence]);
    expect(await page.isChecked("#from-statement")).toBe(true);
    await page.check("#insecure");
    await page.click("#verify");
    expect(await titleOf(page), await found(page)).toMatch(/^Simulated, .*verified, for some time after 20\d\d-/);
    expect(await page.locator("#findings .verdict").innerText()).toMatch(/was simulated.*at some time after/s);
    expect(await page.locator("#history ins").allTextContents()).toContain('"contrast/emojivoto:0.2.0"');
    expect(noise).toEqual([]);
    expect(requests).toEqual([`GET ${pathToFileURL(built).href}`]);

    const changed = join(scratch, "changed.json");
    const text = readFileSync(evidence, "utf8");
    writeFileSync(
      changed,
      text.replace(/"random":"./, (part) => `${part.slice(0, -1)}${part.endsWith("0") ? "1" : "0"}`),
    );
    await page.setInputFiles("#statement", changed);
    await page.click("#verify");
    expect(await titleOf(page)).toBe(REFUSED);
    expect(await found(page)).toContain("nonce_not_bound");

    await context?.close();
    const opened = await open(pathToFileURL(report).href);
    expect(await opened.page.locator("h1").innerText()).toBe("Contrast verification report");
    expect(opened.noise).toEqual([]);
  });

  test("a workload's certificate is of this deployment, with every claim in it, or it is refused", async () => {
    const { chain } = await deployment.enroll("page-volume");
    const opened = await open(served);
    const { page } = opened;
    await page.click("text=More options");
    await page.setInputFiles("#certificate", chain);
    await expect.poll(() => page.locator("#certificate-about").innerText()).toContain("certChain.pem");
    expect(await ask(opened, `https://${PROXY}`), await found(page)).toBe(SIMULATED);
    expect(await page.locator("#workload .verdict").innerText()).toContain("simulated TEE");
    await page.click("text=Every claim in it");
    const rows = page.locator("#workload .rows tbody tr");
    expect(await rows.count()).toBeGreaterThan(55);
    expect(await rows.filter({ hasText: "hostData" }).innerText()).toMatch(
      /[0-9a-f]{64}.*the CPU.*1\.3\.9901\.2\.1\./s,
    );
    const policy = /[0-9a-f]{64}/.exec(await rows.filter({ hasText: "hostData" }).innerText())?.[0];
    expect(await page.locator("#workload .properties").innerText()).toContain(policy);
    expect(opened.noise).toEqual([]);

    // The root CA has signed the second of the chain, and the deployment's owners none of it.
    const [, intermediate = ""] = readFileSync(chain, "utf8").split(/(?=-----BEGIN)/);
    writeFileSync(join(scratch, "intermediate.pem"), intermediate);
    await page.setInputFiles("#certificate", join(scratch, "intermediate.pem"));
    await page.click("#verify");
    expect(await titleOf(page)).toBe(REFUSED);
    expect(await found(page)).toContain("foreign_certificate");
  });

  async function drop(page: Page, paths: readonly string[]): Promise<void> {
    const files = paths.map((path) => [basename(path), readFileSync(path).toString("base64")]);
    const transfer = await page.evaluateHandle(`(() => {
      const transfer = new DataTransfer();
      for (const [name, content] of ${JSON.stringify(files)}) {
        const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
      }
      return transfer;
    })()`);
    for (const type of ["dragover", "drop"]) await page.dispatchEvent("body", type, { dataTransfer: transfer });
    await expect.poll(() => page.locator("#statement-about").innerText()).toContain("SHA-256");
  }

  test("another manifest than the one in force is refused, with what was got and wanted", async () => {
    const other = join(scratch, "other.json");
    writeFileSync(other, readFileSync(file("manifest.json"), "utf8").replace(/\n$/, "\n\n"));
    const opened = await open(served);
    expect(await ask(opened, `https://${PROXY}`, { manifest: other })).toBe(REFUSED);
    expect(await found(opened.page)).toMatch(/manifest_mismatch.*[0-9a-f]{64}.*[0-9a-f]{64}/s);
    expect(opened.noise).toEqual([]);
  });

  const attestAs =
    (change: (body: Record<string, unknown>) => object) =>
    async (path: string, honest: () => Promise<Answer>): Promise<Answer> => {
      const answer = await honest();
      if (path !== "/v1/attest") return answer;
      const body = change(JSON.parse(answer.body.toString()) as Record<string, unknown>);
      return { ...answer, body: Buffer.from(JSON.stringify(body)) };
    };
  const plain = (status: number, type: string, text: string) => async (): Promise<Answer> => ({
    status,
    type,
    body: Buffer.from(text),
  });
  let kept: string | undefined;

  test.each<[string, Liar["lie"], string, string]>([
    [
      "an answer that a proxy has kept",
      attestAs((body) => JSON.parse((kept ??= JSON.stringify(body))) as object),
      REFUSED,
      "nonce_mismatch",
    ],
    ["the mesh CA of somebody else", attestAs((body) => ({ ...body, meshCa: body["rootCa"] })), REFUSED, "ca_mismatch"],
    [
      "another document of a digest",
      async (path, honest) =>
        path.startsWith("/v1/policies/") ? { ...(await honest()), body: Buffer.from(MARKUP) } : honest(),
      REFUSED,
      "digest_mismatch",
    ],
    ["a page of a proxy", plain(502, "text/html", `<html>${MARKUP}</html>`), NO_ANSWER, "unexpected_answer"],
    ["markup for JSON", plain(200, "application/json", MARKUP), NO_ANSWER, "unexpected_answer"],
    ["a problem made of markup", plain(503, "application/problem+json", PROBLEM), NO_ANSWER, "in 4 s"],
    [
      "a way elsewhere",
      async (_, __, response) => {
        response.writeHead(307, { location: `https://${PROXY}/v1/attest` }).end();
        return undefined;
      },
      NO_ANSWER,
      "redirected",
    ],
    [
      "an answer without an end",
      async (_, __, response) => {
        response.writeHead(200, { "content-type": "application/json" });
        const block = Buffer.alloc(2 ** 16, "[");
        const fill = (): void => {
          while (response.write(block));
        };
        response.on("drain", fill);
        fill();
        return undefined;
      },
      REFUSED,
      "answer_too_large",
    ],
  ])("behind a proxy that lies: %s", async (_, lie, title, code) => {
    const opened = await open(served);
    if (kept === undefined) {
      liar.lie = lie;
      await ask(opened, `https://${LIAR}`);
    }
    liar.lie = lie;
    expect(await ask(opened, `https://${LIAR}`), await found(opened.page)).toBe(title);
    expect(await found(opened.page)).toContain(code);
    // Whatever it said is text.
    expect(await opened.page.title()).not.toContain("run");
    expect(await opened.page.locator("#findings img, #findings script").count()).toBe(0);
    // Of an answer that is an error, and of none, the browser makes a line of its own.
    expect(opened.noise.filter((line) => !line.startsWith("console Failed to load resource"))).toEqual([]);
  });

  test("where a proxy hides that browsers may read, the page says where to look", async () => {
    const opened = await open(served);
    expect(await ask(opened, `https://${SILENT}`)).toBe(NO_ANSWER);
    expect(await found(opened.page)).toMatch(
      /unreachable.*in a browser, at what the proxy before the Coordinator allows/s,
    );
  });

  test("a manifest of markup is text, and so is its name", async () => {
    const opened = await open(served);
    const { page } = opened;
    const buffer = Buffer.from(JSON.stringify({ [MARKUP]: MARKUP }));
    await page.setInputFiles("#manifest", { name: `${MARKUP}.json`, mimeType: "application/json", buffer });
    await page.fill("#coordinator", PROXY);
    await page.click("#verify");
    expect(await titleOf(page)).toBe("Not verified: this can’t be used");
    expect(await found(page)).toContain("<script>");
    expect(await page.locator("img, form script, section script").count()).toBe(0);
    expect(await page.title()).not.toContain("run");
    expect(opened.noise).toEqual([]);
  });

  test("what is wrong with an address is said at its field", async () => {
    const { page } = await open(served);
    await page.setInputFiles("#manifest", file("manifest.json"));
    for (const [address, message] of [
      ["", "Give the address"],
      ["http://192.0.2.1", "Plain http is only for"],
      ["javascript:alert(1)", "no address"],
      ["https://user:secret@coordinator.example.com", "without a user"],
    ] as const) {
      await page.fill("#coordinator", address);
      await page.click("#verify");
      expect(await page.getByRole("alert").innerText()).toContain(message);
      expect(await page.evaluate("document.activeElement.id")).toBe("coordinator");
      expect(await page.locator("#coordinator").getAttribute("aria-invalid")).toBe("true");
    }
  });

  test("it is stopped, and asks nobody any more", async () => {
    const opened = await open(served);
    const { page } = opened;
    liar.lie = () => new Promise(() => undefined);
    await page.setInputFiles("#manifest", file("manifest.json"));
    await page.fill("#coordinator", `https://${LIAR}`);
    await page.click("#verify");
    expect(await page.getByRole("status").first().innerText()).toContain("Asking the Coordinator");
    await page.click("#stop");
    expect(await page.getByRole("status").first().innerText()).toBe("Stopped.");
    expect(await page.evaluate("document.activeElement.id")).toBe("verify");
    expect(await page.locator("#result").isVisible()).toBe(false);
  });

  test("no page shows it inside of itself", async () => {
    const frame = join(scratch, "frame.html");
    for (const url of [served, `https://${STATIC}/`]) {
      writeFileSync(frame, `<!doctype html><title>frame</title><iframe src="${url}"></iframe>`);
      const { page } = await open(pathToFileURL(frame).href);
      const inner = page.frameLocator("iframe");
      if (url === served) await expect.poll(() => page.frames().at(-1)?.url()).toMatch(/^chrome-error:/);
      else expect(await inner.locator("#obstacle").innerText()).toMatch(/^Another page shows this one/);
      expect(await inner.locator("#question:visible").count()).toBe(0);
      await context?.close();
    }
  });

  test("its policy lets no markup run that would come in all the same", async () => {
    const { page } = await open(served);
    const outcomes = await page.evaluate(`(async () => {
      // What the debugger runs at once may evaluate text; what runs later is as the page's own.
      await new Promise((resolve) => setTimeout(resolve));
      const attempt = (act) => {
        try {
          act();
          return "done";
        } catch (error) {
          return error.name;
        }
      };
      const script = document.createElement("script");
      return [
        attempt(() => (document.body.innerHTML += "<i>x</i>")),
        attempt(() => document.write("<i>x</i>")),
        attempt(() => trustedTypes.createPolicy("contrast-report", {})),
        attempt(() => new Function("document.title = 'run'")()),
        attempt(() => (script.text = "document.title = 'run'")),
        await fetch("http://192.0.2.1/").catch((error) => error.message),
        document.title,
      ];
    })()`);
    const refused = ["TypeError", "TypeError", "TypeError", "EvalError", "TypeError", "Failed to fetch"];
    expect(outcomes).toEqual([...refused, "Verify a deployment with Contrast"]);
  });

  describe("for everybody", () => {
    const states = {
      problem: async ({ page }: Opened) => {
        await page.click("text=More options");
        await page.click("#verify");
      },
      refused: (opened: Opened) => ask(opened, `https://${PROXY}`, { insecure: false }),
      verified: (opened: Opened) => ask(opened, `https://${PROXY}`),
    };

    test.each([
      ["problem", "dark", 360],
      ["refused", "light", 1280],
      ["verified", "light", 1280],
      ["verified", "dark", 360],
    ] as const)(
      "%s, %s, %i wide: it can be read, and a screen reader gets all of it",
      async (state, colorScheme, width) => {
        const opened = await open(served, { width, colorScheme });
        const { page } = opened;
        await states[state](opened);
        expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBe(0);
        // axe asks for names, roles, contrast, order of headings, landmarks and more (WCAG 2.2, best practices).
        await page.evaluate(`${axe}; window.axe = axe`).catch(() => undefined);
        const broken = await page.evaluate(`axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa",
        "wcag22aa", "best-practice"] }).then(({ violations }) => violations.map(({ id, nodes }) =>
        id + ": " + nodes.map(({ html }) => html).slice(0, 3).join(" ")))`);
        expect(broken).toEqual([]);
      },
    );

    test("the tree of the form, as a screen reader gets it", async () => {
      const { page } = await open(served);
      await page.click("#verify");
      expect(await page.locator("form").ariaSnapshot()).toBe(FORM_TREE);
    });

    test("nothing moves", async () => {
      const { page } = await open(served);
      const moving = await page.evaluate(`[...document.querySelectorAll("*")].filter((element) => {
        const { animationName, transitionDuration } = getComputedStyle(element);
        return animationName !== "none" || transitionDuration !== "0s";
      }).length`);
      expect(moving).toBe(0);
    });
  });

  test("a Coordinator that has to be recovered is not ready, and nothing is known to be wrong", async () => {
    await deployment.stop(coordinator);
    coordinator = await deployment.startCoordinator("state");
    const opened = await open(served);
    expect(await ask(opened, `https://${PROXY}`)).toBe(NO_ANSWER);
    expect(await found(opened.page)).toMatch(/not_ready.*nothing is known to be wrong with the deployment/s);
  });

  test.each(["SIGINT", "SIGTERM"] as const)("`verify --serve` ends with %s", async (signal) => {
    const program = startProgram(["cli/main.ts", "verify", "--serve", "127.0.0.1:41314"]);
    await expect.poll(() => program.stdout(), { timeout: 10_000 }).toBe("page: http://127.0.0.1:41314/\n");
    const answer = await fetch("http://127.0.0.1:41314/");
    expect(await answer.text()).toBe(readFileSync(built, "utf8"));
    program.child.kill(signal);
    expect(await program.exited).toBe(signal === "SIGINT" ? 130 : 143);
  });
});

/** Of the form after a try without a manifest. */
const FORM_TREE = `- form "What to verify":
  - group "Manifest":
    - text: Manifest The manifest that you have read
    - button "The manifest that you have read"
    - paragraph:
      - text: Choose
      - code: manifest.json
      - text: ", or drop it anywhere on this page."
  - group "Evidence":
    - text: Evidence
    - radio "Ask the Coordinator now" [checked]
    - text: Ask the Coordinator now Address of its HTTP API
    - textbox "Address of its HTTP API":
      - /placeholder: https://coordinator.example.com
    - paragraph: "With https, whatever terminates TLS: the evidence does not depend on it. Plain http only for this machine."
    - radio "Read a saved evidence.json, without a network"
    - text: Read a saved
    - code: evidence.json
    - text: ", without a network"
  - group: More options
  - checkbox "Accept a simulated TEE"
  - text: Accept a simulated TEE
  - paragraph: "For tests and demonstrations only. A simulated TEE is a program: whoever runs it can claim anything, and nothing is proven about hardware."
  - alert: Choose the manifest.
  - button "Verify"
  - status`;

async function succeed(ended: ReturnType<typeof contrast>): Promise<string> {
  const { code, stdout, stderr } = await ended;
  expect(code, stderr).toBe(0);
  return stdout;
}

async function printedPage(program: Program): Promise<string> {
  for (;;) {
    const [, url] = /"page": "(.*?)"/.exec(program.stdout()) ?? [];
    if (url !== undefined) return url;
    if (program.child.exitCode !== null) throw new Error(`it ended: ${program.text.join("\n")}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
