import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CliDeployment, createCliDeployment } from "./cli-deployment.ts";
import { resultOf } from "./cli-result.ts";
import { NO_NGINX, type Nginx, startNginx } from "./nginx.ts";

/** `verify` over https, with a real nginx before the Coordinator that terminates TLS, and statements of what it verified. */

const ADDRESS = "127.108.1.1";

if (NO_NGINX !== undefined) test.skip(`https behind nginx: ${NO_NGINX}`);

describe.runIf(NO_NGINX === undefined)("https behind nginx", { timeout: 60_000 }, () => {
  let deployment: CliDeployment;
  let proxy: Nginx;

  beforeAll(async () => {
    deployment = createCliDeployment(ADDRESS);
    expect((await deployment.generate()).code).toBe(0);
    await deployment.startCoordinator("state");
    proxy = await startNginx(ADDRESS, 8443, `location /mesh/ { proxy_pass http://${ADDRESS}:1314/; }`);
    expect((await over("verify")).code).toBe(5);
    await deployment.result("set");
    await deployment.result("set");
  });

  afterAll(async () => {
    await proxy.stop();
    await deployment.remove();
  });

  const at = (coordinator: string, environment = {}) => ({
    coordinator,
    environment: { NODE_EXTRA_CA_CERTS: proxy.certificate, ...environment },
  });
  const over = (command: string, ...args: string[]) => deployment.contrastAt(at(`${proxy.url}/mesh`), command, ...args);
  const json = (code: number, command: string, ...args: string[]) =>
    resultOf(code, over(command, "--output", "json", ...args));
  const statement = () => join(deployment.directory, "evidence.json");
  const from = (path: string, ...args: string[]) =>
    deployment.contrastAt(
      { environment: { CONTRAST_COORDINATOR: "nobody.invalid" } },
      "verify",
      "--from",
      path,
      ...args,
    );

  test("verify says and writes the same as over the attested channel", async () => {
    const {
      time: _,
      evidence: __,
      verdict,
      coordinator,
      certificates,
      ...overChannel
    } = await deployment.result("verify");
    const files = (overChannel["written"] as string[]).filter((path) => !path.endsWith(".html"));
    const before = files.map((path) => readFileSync(path, "utf8"));
    rmSync(deployment.file("verify"), { recursive: true });
    rmSync(deployment.file("pinned.json"));
    const overHttps = await json(0, "verify");
    const shares = deployment.file("verify/seed-shares.json");
    const same = (paths: unknown) => (paths as string[]).filter((path) => path !== shares);
    expect(overHttps).toMatchObject({ ...overChannel, written: same(overChannel["written"]) });
    expect(overHttps["verdict"]).toBe(String(verdict).replace(String(coordinator), `${proxy.url}/mesh`));
    expect(overHttps["certificates"]).toEqual(certificates);
    for (const [index, path] of files.entries()) {
      if (path !== shares) expect(readFileSync(path, "utf8"), path).toBe(before[index]);
    }
    expect(readFileSync(deployment.file("verify/report.html"), "utf8")).toContain(`${proxy.url}/mesh`);
    expect((await over("verify")).stdout).toContain("seed shares: not read: they are not served over HTTP");
  });

  test("a proxy whose certificate nobody knows is unreachable, and no better than one without TLS", async () => {
    const unknown = await deployment.contrastAt({ coordinator: `${proxy.url}/mesh` }, "verify");
    expect(unknown.stderr).toMatch(/unreachable: .*self-signed certificate/);
    expect(unknown.code).toBe(4);
    const plain = await deployment.contrastAt({ coordinator: `http://${ADDRESS}:1314` }, "verify");
    expect(plain.code, plain.stderr).toBe(0);
  });

  test("what is at the address and is no Coordinator is said to be none", async () => {
    for (const coordinator of [`${proxy.url}/elsewhere`, `http://${ADDRESS}:9102`]) {
      const { code, stderr } = await deployment.contrastAt(at(coordinator), "verify");
      expect(stderr).toContain("unexpected_answer: ");
      expect(code).toBe(4);
    }
  });

  test("a manifest that is not in force is refused, and a pin that the history lacks before that", async () => {
    const path = join(deployment.directory, "other.json");
    const other = deployment.read("manifest.json").replace('"coordinator"', '"coordinator","other"');
    writeFileSync(path, other);
    const refused = await over("verify", "-m", path);
    expect(refused.stderr).toContain("manifest_mismatch: ");
    expect(refused.stderr).toContain(`want SHA-256 ${createHash("sha256").update(other).digest("hex")}`);
    expect(refused.code).toBe(3);
    const pin = deployment.read("pinned.json");
    const unknown = pin.replace(/("Transition": ")[0-9a-f]{8}/, "$100000000");
    writeFileSync(deployment.file("pinned.json"), unknown);
    for (const args of [[], ["-m", path]]) {
      const { code, stderr } = await over("verify", ...args);
      expect(stderr).toContain("pin_mismatch: ");
      expect(code).toBe(3);
    }
    writeFileSync(deployment.file("pinned.json"), pin.replace(/("RootCaKey": ")[0-9a-f]{8}/, "$100000000"));
    expect((await over("verify")).stderr).toContain("another_deployment: ");
    expect(deployment.read("pinned.json")).not.toBe(pin);
    writeFileSync(deployment.file("pinned.json"), pin);
  });

  test("what needs the attested channel says so", async () => {
    for (const command of [["recover"], ["rekey", "--prepare"], ["secret", "list"]]) {
      const [first = "", ...rest] = command;
      const { code, stderr } = await deployment.contrastAt(at(proxy.url), first, ...rest);
      expect(stderr, command.join(" ")).toMatch(/^error: channel_required: /m);
      expect(stderr).toContain("host:port of the Coordinator's user API");
      expect(code).toBe(2);
    }
  });

  test("a statement says when it was true, to whoever has the manifest, without a network", async () => {
    await json(0, "verify", "--save", statement());
    const { code, stdout, stderr } = await from(statement());
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^result: verified: true at some time after \d{4}-\d\d-\d\dT\S+Z$/m);
    expect(stdout).toMatch(/^signed then: notBefore of the certificate of /m);
    expect(stdout).toContain(`not signed: asked at ${proxy.url}/mesh, by the clock of who saved it at `);
    expect(stdout).toContain("known here: its history has the transition that is pinned here");
    expect(stdout).toMatch(/^insecure: INSECURE/m);
    const facts = await resultOf(0, from(statement(), "--output", "json"));
    const { Transition } = JSON.parse(deployment.read("pinned.json")) as Record<string, string>;
    expect(facts).toMatchObject({
      result: "verified",
      insecure: true,
      transition: Transition,
      manifest: { generation: 2, text: deployment.read("manifest.json") },
      after: { what: expect.stringContaining("notBefore") as string },
      unsigned: { url: `${proxy.url}/mesh` },
    });
    expect(facts["after"]).toEqual(facts["signed"]);
  });

  test("a statement that was changed, or is of another manifest, is refused", async () => {
    const text = readFileSync(statement(), "utf8");
    const changed = join(deployment.directory, "changed.json");
    const refused = async (code: number, message: RegExp, ...args: string[]) => {
      const ended = await from(changed, ...args);
      expect(ended.stderr).toMatch(message);
      expect(ended.code).toBe(code);
    };
    writeFileSync(changed, text.slice(0, -1));
    await refused(2, /malformed_statement: /);
    const report = /"report":"([^"]+)"/.exec(text)?.[1] ?? "";
    writeFileSync(changed, text.replace(report, Buffer.from(report, "base64").fill(1, 80, 81).toString("base64")));
    await refused(3, /signature|report_data/);
    writeFileSync(changed, text);
    const other = join(deployment.directory, "other.json");
    await refused(3, /manifest_mismatch: /, "-m", other);
    rmSync(changed);
    await refused(2, /unreadable_file: the statement/);
  });

  test("a statement is made over HTTP alone, and verified alone", async () => {
    const { code, stderr } = await deployment.contrast("verify", "--save", statement());
    expect(stderr).toContain("http_required: a statement is made over the HTTP API alone");
    expect(stderr).toContain("bound to its connection");
    expect(code).toBe(2);
    const both = await deployment.contrast("verify", "--from", statement());
    expect(both.stderr).toContain("usage: a statement is verified without a Coordinator");
    expect(both.code).toBe(2);
  });
});
