import { execFile, execFileSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { claimExtensions, claims } from "../attestation/claims.ts";
import { asVendorRoot, makeEvidence, NOW } from "../attestation/snp/test-vendor.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import { toHex } from "../bytes/encode.ts";
import { issueChain } from "../coordinator/state/authority.ts";
import { grantExtensions } from "../manifest/grant-extensions.ts";
import { generateEcKey, privateKeyPem, spkiDigest } from "../pki/keys.ts";
import { COORDINATOR_HASH, TestCoordinator, WEB_HASH } from "../verifier/test-coordinator.ts";
import { CHROMIUM, startChromium } from "./browser/chromium.ts";
import { judge } from "./verifier/judge.ts";
import { codeOf, type Installed, install } from "./verifier/package.ts";
import { type Asked, ask, type Outcome } from "./verifier/questions.ts";
import { hasRecorded, recorded } from "./verifier/recorded.ts";

/** The files of the package that others import, in each runtime that the document promises. */

const root = join(import.meta.dirname, "..");
const ADDRESS = "127.121.0.5";

let installed: Installed;
let coordinator: TestCoordinator;
let asked: Asked;
const servers: Server[] = [];

beforeAll(async () => {
  coordinator = await TestCoordinator.create({}, new Date());
  const stale = await TestCoordinator.create({}, new Date());
  stale.state = coordinator.state;
  const old = coordinator.attest([Buffer.alloc(32, 1)]);
  stale.lies = { answer: (answer) => ({ ...answer, evidence: old.evidence }) };
  const workload = await TestCoordinator.create({}, new Date());
  workload.state = coordinator.state;
  workload.lies = { hostData: WEB_HASH };
  const page = await TestCoordinator.create({}, new Date());
  page.lies = {
    respond: (_, response) => {
      response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
      return true;
    },
  };
  const redirect = await TestCoordinator.create({}, new Date());
  redirect.lies = {
    respond: (_, response) => {
      response.writeHead(307, { location: "https://elsewhere.example/" }).end();
      return true;
    },
  };
  const urls: Record<string, string> = {};
  for (const [name, each] of Object.entries({ coordinator, stale, workload, page, redirect })) {
    const { server, url } = await each.listen(ADDRESS);
    servers.push(server);
    urls[name] = url;
  }
  const { coordinator: url = "", ...liars } = urls;
  asked = { url, liars, manifest: coordinator.manifest.toString() };
  installed = await install();
  await writeFile(join(installed.folder, "asked.json"), JSON.stringify(asked));
  await writeFile(join(installed.folder, "recorded.json"), JSON.stringify(recorded()));
}, 120_000);

afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await installed.remove();
});

const CODES = {
  stale: "report_data_mismatch",
  workload: "not_coordinator",
  page: "unexpected_answer",
  redirect: "redirected",
  "another manifest": "manifest_mismatch",
  "nobody there": "unreachable",
  "an edited statement": expect.stringMatching(/^[a-z_]+$/),
};

/** What every runtime has to find. */
function expected(): Outcome {
  const { steps, authority } = coordinator.state;
  return {
    transition: steps.at(-1)?.transition.digest ?? "",
    meshCa: toHex(spkiDigest(authority.meshKey.publicKey)),
    policies: [COORDINATOR_HASH, WEB_HASH].toSorted(),
    isFrozen: true,
    after: "2020-01-01T00:00:00.000Z",
    refusals: CODES,
  };
}

/** A runtime, and how it runs a module of the current folder. */
interface Runtime {
  readonly program: string | undefined;
  readonly args: readonly string[];
}

const machine = { x64: ["x64", "x64"], arm64: ["arm64", "aarch64"] }[process.arch as string] ?? ["", ""];
const packaged = (path: string): string | undefined => globSync(join(root, "node_modules", path))[0];

const RUNTIMES: Readonly<Record<string, Runtime>> = {
  "this Node": { program: process.execPath, args: [] },
  "Node 20": { program: nodeOf(20), args: [] },
  Deno: {
    program: packaged(`@deno/linux-${machine[0]}-glibc/deno`),
    args: ["run", "--quiet", "--no-lock", "--allow-net", "--allow-read"],
  },
  Bun: { program: packaged(`@oven/bun-linux-${machine[1]}/bin/bun`), args: ["run"] },
};

/** The one that the system has, where it is of this major version. */
function nodeOf(major: number): string | undefined {
  const system = "/usr/bin/node";
  if (!existsSync(system)) return undefined;
  return execFileSync(system, ["--version"]).toString().startsWith(`v${major}.`) ? system : undefined;
}

const run = promisify(execFile);

async function outcomeIn({ program = "", args }: Runtime, module: string): Promise<string> {
  const { stdout } = await run(program, [...args, module], {
    cwd: installed.folder,
    env: { PATH: process.env["PATH"], HOME: installed.folder, DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    timeout: 60_000,
  });
  return stdout;
}

test("the library is one file without imports, of less than 60 kB", async () => {
  const code = await readFile(join(installed.library, "dist/verifier/verifier.js"), "utf8");
  expect(code).not.toMatch(/node:|\bBuffer\b|\brequire\(|\bimport\(|\bimport\s*["{*]|\beval\(|new Function/);
  expect(gzipSync(code, { level: 9 }).length).toBeLessThan(60_000);
});

test("its types name nothing of its inside, and say what is right and wrong", async () => {
  for (const name of ["verifier", "types", "mesh-fetch"]) {
    const text = await readFile(join(installed.library, `dist/verifier/${name}.d.ts`), "utf8");
    const imports = Array.from(text.matchAll(/(?:from|import\() ?"([^"]+)"/g), ([, from = ""]) => from);
    expect(imports.filter((from) => !["./types.js", "./verifier.js", "undici"].includes(from))).toEqual([]);
    // Every function and every option has a text.
    expect(text).not.toMatch(/(?<!\*\/\n)^export declare function/m);
  }
  const caller = `
import { verifyDeployment, VerifyRefusal, type VerifiedDeployment } from "@contrast-mesh/contrast/verifier";
import { meshFetch } from "@contrast-mesh/contrast/mesh-fetch";
const verified: VerifiedDeployment = await verifyDeployment({ url: "", manifest: new Uint8Array() });
const fetch = meshFetch(verified, { maxAgeMs: 1 });
export const text: string = await (await fetch("https://web")).text();
export const code = (error: VerifyRefusal): string => error.code;
// @ts-expect-error nobody may change what was verified
verified.meshCa.pem = "";
// @ts-expect-error a manifest has to be given
await verifyDeployment({ url: "" });
`;
  await writeFile(join(installed.folder, "caller.ts"), caller);
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--typeRoots"];
  const types = join(root, "node_modules/@types");
  await run(join(root, "node_modules/.bin/tsc"), [...options, types, "--types", "node", "caller.ts"], {
    cwd: installed.folder,
  });
});

describe.each(Object.entries(RUNTIMES))("%s", (name, runtime) => {
  const skipped = runtime.program === undefined ? `: there is no ${name} here` : "";
  test.skipIf(runtime.program === undefined)(`verifies, refuses and keeps as every other${skipped}`, async () => {
    const { outcome, judged } = JSON.parse(await outcomeIn(runtime, "run.js")) as {
      readonly outcome: unknown;
      readonly judged: unknown;
    };
    expect(outcome).toEqual(expected());
    // What the sources say on node:crypto, here and now.
    expect(judged).toEqual(await judge(recorded()));
  });
});

test.skipIf(!existsSync(CHROMIUM))(
  `a browser does, too, under a strict policy (skipped without ${CHROMIUM})`,
  async () => {
    const files: Readonly<Record<string, string>> = {
      "/verifier.js": join(installed.library, "dist/verifier/verifier.js"),
      "/questions.js": join(installed.folder, "questions.js"),
      "/judge.js": join(installed.folder, "judge.js"),
    };
    const server = createServer((request, response) => {
      const file = files[request.url ?? ""];
      response.setHeader("content-security-policy", "default-src 'none'; script-src 'self'; connect-src *");
      response.setHeader("content-type", file === undefined ? "text/html" : "text/javascript");
      if (file === undefined) response.end("<!doctype html><title>verify</title>");
      else void readFile(file).then((bytes) => response.end(bytes));
    });
    servers.push(server);
    // localhost is a secure context, which WebCrypto is for.
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const browser = await startChromium();
    try {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      // As text: what a test's transformation makes of import() is nothing for a browser.
      const result: unknown = await page.evaluate(`(async () => {
      const library = await import("/verifier.js");
      const { ask } = await import("/questions.js");
      const { judge } = await import("/judge.js");
      return { outcome: await ask(library, ${JSON.stringify(asked)}), judged: await judge(${JSON.stringify(recorded())}) };
    })()`);
      expect(result).toEqual({ outcome: expected(), judged: await judge(recorded()) });
    } finally {
      await browser.close();
    }
  },
);

test.skipIf(!hasRecorded)("recorded evidence was looked at", async () => {
  const outcomes = Object.values(await judge(recorded()));
  expect(outcomes.filter((outcome) => outcome === "verified").length).toBeGreaterThan(8);
  expect(outcomes.filter((outcome) => outcome !== "verified").length).toBeGreaterThan(6);
});

describe("docs/verifier.md", () => {
  test("its examples do what it says", async () => {
    const keys = await generateEcKey("P-256");
    const said = claims(
      verifySnp(makeEvidence(coordinator.vendor), { trustAnchors: asVendorRoot(coordinator.vendor, "Milan"), at: NOW }),
    );
    const granted = grantExtensions({ policy: WEB_HASH, workloadSecretId: undefined });
    const extensions = new Map([...claimExtensions(said), ...granted]);
    const leaf = { publicKey: keys.publicKey, names: [{ kind: "ip" as const, value: ADDRESS }], extensions };
    const chain = issueChain(coordinator.state.authority, leaf, new Date());
    await writeFile(join(installed.folder, "certChain.pem"), chain);
    const { createServer: createTls } = await import("node:https");
    const web = createTls({ cert: chain, key: privateKeyPem(keys.privateKey) }, (_, response) => response.end("emoji"));
    await new Promise<void>((resolve) => web.listen(0, ADDRESS, resolve));
    servers.push(web);
    await writeFile(join(installed.folder, "manifest.json"), coordinator.manifest);
    await copyFile(join(installed.library, "dist/verifier/verifier.js"), join(installed.folder, "verifier.js"));
    const addresses: readonly (readonly [string, string])[] = [
      ["https://coordinator.example", asked.url],
      ["https://web.example/", `https://${ADDRESS}:${(web.address() as AddressInfo).port}/`],
      // The deployment of this test has a software TEE.
      ["verifyDeployment({ url", "verifyDeployment({ allowInsecure: true, url"],
      ["verifyDeployment({\n", "verifyDeployment({\nallowInsecure: true,\n"],
      ['"evidence.json"), { manifest', '"evidence.json"), { allowInsecure: true, manifest'],
    ];
    const [verify = "", inBrowser = "", connect = "", certificate = "", keep = "", ...others] = (
      await codeOf("docs/verifier.md")
    ).map((code) => addresses.reduce((text, [from, to]) => text.replaceAll(from, to), code));
    expect(others).toEqual([]);
    const call = `\nconsole.log(await check(${JSON.stringify(asked.url)}, new Blob([${JSON.stringify(asked.manifest)}])));\n`;
    const printed: string[] = [];
    for (const [index, code] of [verify, inBrowser + call, connect, certificate, keep].entries()) {
      await writeFile(join(installed.folder, `example-${index}.js`), code);
      printed.push(await outcomeIn({ program: process.execPath, args: [] }, `example-${index}.js`));
    }
    expect(printed[0]).toMatch(/^manifest 1 is in force.*\n[0-9a-f]{64} [0-9a-f]{64}\n$/);
    expect(printed[1]).toBe("simulated, this proves nothing\n");
    expect(printed[2]).toBe("emoji\n");
    expect(printed[3]).toBe(`${ADDRESS} runs policy ${WEB_HASH} on ${said.reportedTcb}\n`);
    expect(printed[4]).toBe(
      "true at some time after 2020-01-01T00:00:00.000Z (notBefore of the certificate of SEV-VCEK)\n",
    );
  });
});

test("the sources give the same as what is built of them", async () => {
  const library = await import("../verifier/verifier.ts");
  expect(await ask(library, asked)).toEqual(expected());
});
