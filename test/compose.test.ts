import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { get } from "../demo/browser.ts";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { ownImageConfig } from "../policy/own-images.ts";
import { commitTime } from "../runtime/build-time.ts";
import { type Engine, NO_ENGINE, runToEnd, startEngine } from "./engine.ts";

/** The images and deploy/compose.yml, for real: built, started, used with a browser, taken down. */

const root = join(import.meta.dirname, "..");
const compose = [process.execPath, "demo/compose/program.ts"];
const NAMES = ["initializer", "mesh-proxy", "coordinator", "emojivoto"];

interface Built {
  readonly reference: string;
  readonly digest: string;
  readonly compressed: { readonly amd64: number };
}

const CHROMIUM = "/usr/bin/chromium";
const hasBrowser = execFileSync("sh", ["-c", `test -x ${CHROMIUM} && command -v certutil || true`]).length > 0;
const NO_BROWSER = hasBrowser ? undefined : "there is no chromium, or no certutil";

describe.skipIf(NO_ENGINE !== undefined)(`images and compose${NO_ENGINE === undefined ? "" : `: ${NO_ENGINE}`}`, () => {
  let engine: Engine;
  let built: Built[];
  let scratch: string;
  const arch = process.arch === "x64" ? "amd64" : process.arch;

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "contrast-compose-test-"));
    engine = await startEngine();
    execFileSync("npm", ["run", "build"], { cwd: root, stdio: "ignore" });
    // Debian's packages come from outside; the engine has no way there.
    const images = await runToEnd(
      [process.execPath, "images/program.ts", "--arch", arch, "--load", "--out", join(scratch, "images")],
      engine.environment,
    );
    expect(images.code, images.output).toBe(0);
    built = JSON.parse(await readFile(join(scratch, "images", "images.json"), "utf8")) as Built[];
  }, 600_000);

  afterAll(async () => {
    await engine.stop();
    await rm(scratch, { recursive: true, force: true });
  }, 60_000);

  test("every image is at most 50 MB as a registry has it", () => {
    for (const { reference, compressed } of built) expect(compressed.amd64, reference).toBeLessThanOrEqual(50e6);
  });

  test("a copy of the checkout in another folder, with other modes, gives the same digests", async () => {
    const other = join(scratch, "another", "folder");
    await mkdir(other, { recursive: true });
    for (const name of await readdir(root)) {
      if ([".git", "demo-run", "dist", "node_modules", "workspace"].includes(name)) continue;
      await cp(join(root, name), join(other, name), { recursive: true, verbatimSymlinks: true });
    }
    execFileSync("cp", ["-a", join(root, "node_modules"), join(other, "node_modules")]);
    execFileSync("chmod", ["-R", "go-rwx", join(other, "images"), join(other, "LICENSE")]);
    // It has no history to take the time of its build from.
    const SOURCE_DATE_EPOCH = `${(commitTime(root)?.getTime() ?? 0) / 1000}`;
    const env = { ...process.env, SOURCE_DATE_EPOCH };
    execFileSync("sh", ["-c", "umask 077; npm run build"], { cwd: other, stdio: "ignore", env });
    const again = await runToEnd(
      [
        "sh",
        "-c",
        'umask 077; exec "$0" "$@"',
        process.execPath,
        join(other, "images/program.ts"),
        "--arch",
        arch,
        "--only",
        "initializer,coordinator",
        "--out",
        join(scratch, "again"),
      ],
      {},
    );
    expect(again.code, again.output).toBe(0);
    const digests = JSON.parse(await readFile(join(scratch, "again", "images.json"), "utf8")) as Built[];
    expect(digests.map(({ digest }) => digest)).toEqual([built[0], built[2]].map((image) => image?.digest));
  }, 600_000);

  test("an image has its program, a plain user, labels, and no shell", async () => {
    for (const name of NAMES) {
      const { output } = await engine.run(["docker", "inspect", `contrast/${name}:0.1.0`]);
      const [{ Config }] = JSON.parse(output) as [{ Config: { User: string; Env: string[]; Labels: object } }];
      expect(Config.User).toBe("65532:65532");
      // The policy of a pod counts with what the configuration says.
      expect(Config.Env).toEqual(
        ownImageConfig(`contrast/${name}:0.1.0`)?.env ?? [
          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ],
      );
      expect(Config.Labels).toMatchObject({ "org.opencontainers.image.version": "0.1.0" });
      const shell = await engine.run(["docker", "run", "--rm", "--entrypoint", "/bin/sh", `contrast/${name}:0.1.0`]);
      expect(shell.code, shell.output).toBe(127);
    }
    const run = ["docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none"];
    for (const name of ["initializer", "mesh-proxy", "coordinator"]) {
      const version = await engine.run([...run, `contrast/${name}:0.1.0`, "--version"]);
      expect(version, version.output).toMatchObject({ code: 0, output: `${name} 0.1.0\n` });
    }
  });

  test("the Initializer's image has what opens and formats encrypted volumes", async () => {
    const run = ["docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", "--entrypoint"];
    for (const [program, argument, said] of [
      ["/sbin/cryptsetup", "--version", "cryptsetup 2."],
      ["/sbin/mkfs.ext4", "-V", "mke2fs 1."],
      // It asks the kernel for its version, which only root may.
      ["/sbin/dmsetup", "--help", "[--version]"],
    ] as const) {
      const ran = await engine.run([...run, program, "contrast/initializer:0.1.0", argument]);
      expect(ran.code, ran.output).toBe(0);
      expect(ran.output).toContain(said);
    }
  });

  test("the node installer can enter the file system of another process", async () => {
    // Of itself, which every engine allows; on a node it is the first process of the node.
    const entering = ["--entrypoint", "/bin/busybox", "contrast/node-installer:0.1.0", "nsenter", "-t", "1", "-m"];
    const rights = ["--cap-add=SYS_ADMIN", "--cap-add=SYS_CHROOT"];
    const ran = await engine.run(["docker", "run", "--rm", ...rights, ...entering, "--", "/bin/busybox", "true"]);
    expect(ran, ran.output).toMatchObject({ code: 0 });
  });

  test("the mesh proxy of an image runs on the native engine, and without it does not start", async () => {
    const mesh = await createMesh();
    const certificates = await writeTlsConfig(mesh, await mesh.issue());
    const variables = { CONTRAST_EGRESS_PROXY_CONFIG: "app#127.137.0.9:8080#app:8080", CONTRAST_LOG_FORMAT: "json" };
    const settings = Object.entries(variables).map(([key, value]) => `--env=${key}=${value}`);
    const rights = ["--read-only", "--cap-drop=ALL", "--network=none", "--user=0:0"];
    const run = ["docker", "run", ...rights, `--volume=${certificates}:/tls-config:ro`, ...settings];
    const image = "contrast/mesh-proxy:0.1.0";

    const without = "--mount=type=tmpfs,destination=/opt/contrast/node_modules/@contrast-mesh";
    const refused = await engine.run([...run, "--rm", without, image]);
    expect(refused.output).toMatch(/engine: the native engine can't be loaded .*@contrast-mesh\/engine-linux-/);
    expect(refused.code).toBe(1);

    const started = await engine.run([...run, "--detach", "--name=native", image]);
    const program = ["/usr/local/bin/node", "/opt/contrast/mesh-proxy/main.js"];
    const ready = await engine.run(["docker", "exec", "native", ...program, "healthcheck", "wait"]);
    const log = await engine.run(["docker", "logs", "native"]);
    await engine.run(["docker", "rm", "--force", "native"]);
    await rm(certificates, { recursive: true });
    expect({ started: started.code, ready: ready.code }, log.output).toEqual({ started: 0, ready: 0 });
    expect(log.output).toMatch(/"engine":"native".*"msg":"ready"/);
  });

  test("a bill of materials names what is in an image", async () => {
    for (const name of NAMES) {
      const bill = JSON.parse(await readFile(join(scratch, "images", `${name}.${arch}.cdx.json`), "utf8")) as {
        bomFormat: string;
        components: { name: string; version: string; purl: string }[];
      };
      expect(bill.bomFormat).toBe("CycloneDX");
      const names = bill.components.map((component) => component.name);
      expect(names).toEqual(expect.arrayContaining(["node", "libc6", "libatomic1", "koffi", "pino"]));
      expect(names.includes("iptables")).toBe(name === "initializer" || name === "mesh-proxy");
      for (const part of ["cryptsetup-bin", "dmsetup", "e2fsprogs"])
        expect(names.includes(part)).toBe(name === "initializer");
      for (const part of ["rustls", "aws-lc-sys", "rust"]) expect(names.includes(part)).toBe(name === "mesh-proxy");
      expect(new Set(bill.components.map(({ purl }) => purl)).size).toBe(bill.components.length);
      for (const { version } of bill.components) expect(version).not.toBe("");
    }
  });

  test("compose starts the deployment, keeps its promises, and leaves nothing behind", async () => {
    const { code, output } = await engine.run([...compose, "--test", "--no-build"]);
    expect(output).toMatch(/ 0 failed\n$/);
    expect(code).toBe(0);
  }, 300_000);

  test.each([2, 5, 8])(
    "who interrupts it after %i s finds nothing left",
    async (seconds) => {
      const interrupt = ["timeout", "--preserve-status", "--signal=INT", `${seconds}`];
      const { code, output } = await engine.run([...interrupt, ...compose, "--no-build"]);
      expect(output).toContain("compose: interrupted");
      expect(code).toBe(130);
      for (const kind of [
        ["ps", "--all"],
        ["network", "ls", "--filter", "type=custom"],
        ["volume", "ls"],
      ]) {
        expect(await engine.run(["docker", ...kind, "--quiet"])).toEqual({ code: 0, output: "" });
      }
    },
    120_000,
  );

  test("a taken port is named, with what to do", async () => {
    const holder = `require("net").createServer().listen(8443, "127.0.0.1", () => {
      const child = require("child_process").spawnSync(process.argv[1], process.argv.slice(2), { encoding: "utf8" });
      process.stdout.write(child.stderr);
      process.exit(child.status);
    })`;
    const { code, output } = await engine.run([process.execPath, "-e", holder, ...compose, "--no-build"]);
    expect(output).toMatch(/^compose: port_taken: a port is in use \(at 127\.0\.0\.1:8443\); set CONTRAST_WEB_PORT/);
    expect(code).toBe(1);
  });

  test("without an engine it says how to get one", async () => {
    const away = { DOCKER_HOST: `unix://${scratch}/nobody.sock` };
    const { code, output } = await engine.run([...compose, "--no-build"], away);
    expect(output).toMatch(/^compose: engine_missing: the Docker engine does not answer .*install-engine\.sh/);
    expect(code).toBe(1);
  });

  describe("where no engine answers", () => {
    const archive = (): string => join(scratch, "images.tar");
    /** Everything that an engine of its own could leave behind, and nothing of other engines and clusters. */
    const traces = async (): Promise<string[]> => {
      const list = async (folder: string): Promise<string[]> =>
        (await readdir(folder).catch(() => [])).map((name) => join(folder, name));
      const cgroups = await list("/sys/fs/cgroup");
      const folders = ["/etc", "/opt", "/run", "/var/lib", tmpdir(), "/sys/fs/cgroup", ...cgroups].map(list);
      const names = [...(await Promise.all(folders)).flat(), ...(await list("/etc/docker"))];
      // Each process of an engine has its folder in the command line.
      const processes = execFileSync("sh", ["-c", "ps -eo args | grep -E '[c]ontrast-engine-' || true"], {
        encoding: "utf8",
      });
      const own = names.filter((name) => /docker|^\/opt\/containerd$|contrast-engine-/.test(name));
      return [...own, ...processes.trim().split("\n")].toSorted();
    };
    let before: string[];

    beforeAll(async () => {
      const saved = await engine.run([
        "docker",
        "save",
        "-o",
        archive(),
        ...NAMES.map((name) => `contrast/${name}:0.1.0`),
      ]);
      expect(saved.code, saved.output).toBe(0);
      before = await traces();
    });

    /** Starts the program where no engine answers, up to a line of its output. */
    async function startAlone(
      line: string,
    ): Promise<{ code: Promise<number | null>; kill: (signal: NodeJS.Signals) => void }> {
      const { DOCKER_HOST: _, ...environment } = process.env;
      const ports = { CONTRAST_WEB_PORT: "28443", CONTRAST_COORDINATOR_PORT: "21313", CONTRAST_ATTEST_PORT: "21314" };
      const args = ["demo/compose/program.ts", "--load", archive()];
      const child = spawn(process.execPath, args, {
        cwd: root,
        env: { ...environment, ...ports },
        stdio: ["ignore", "pipe", "pipe"],
      });
      const code = once(child, "exit").then(([value]) => value as number | null);
      let output = "";
      child.stderr.on("data", (chunk) => (output += String(chunk)));
      await new Promise<void>((resolve, reject) => {
        child.stdout.on("data", (chunk) => {
          output += String(chunk);
          if (output.includes(line)) resolve();
        });
        child.once("exit", () => reject(new Error(output)));
      });
      return { code, kill: (signal) => void child.kill(signal) };
    }

    test("it starts one that ends with it: the published ports answer, and nothing is left", async () => {
      const { code, kill } = await startAlone("Ctrl-C takes it down");
      const ca = await readFile(join(root, "demo-run", "compose", "verify", "mesh-ca.pem"), "utf8");
      const { status } = await get({ ca }, { address: "127.0.0.1", port: 28_443, name: "web", path: "/api/list" });
      expect(status).toBe(200);
      kill("SIGINT");
      expect(await code).toBe(0);
      expect(await traces()).toEqual(before);
    }, 180_000);

    test("who interrupts it while it starts finds nothing left", async () => {
      const { code, kill } = await startAlone("coordinator runs");
      kill("SIGTERM");
      expect(await code).toBe(130);
      expect(await traces()).toEqual(before);
    }, 180_000);

    test("who kills it finds nothing left a moment later", async () => {
      const { code, kill } = await startAlone("INSECURE");
      kill("SIGKILL");
      await code;
      await expect.poll(traces, { timeout: 30_000, interval: 500 }).toEqual(before);
    }, 180_000);
  });

  test.skipIf(NO_BROWSER !== undefined)(
    `a browser that trusts mesh-ca.pem votes by a click and finds it on the leaderboard${NO_BROWSER === undefined ? "" : `: ${NO_BROWSER}`}`,
    async () => {
      const started = await engine.run([...compose, "--no-build"]);
      expect(started.code, started.output).toBe(0);
      const screenshots = join(root, "demo-run", "screenshots");
      await mkdir(screenshots, { recursive: true });
      try {
        const stranger = await openBrowser(undefined);
        const page = await stranger.newPage();
        await expect(page.goto("https://web/")).rejects.toThrow("ERR_CERT_AUTHORITY_INVALID");
        await stranger.close();

        const browser = await openBrowser(join(root, "demo-run", "compose", "verify", "mesh-ca.pem"));
        const trusted = await browser.newPage();
        const response = await trusted.goto("https://web/");
        const security = await response?.securityDetails();
        expect(security?.protocol).toBe("TLS 1.3");
        const ramen = trusted.getByRole("button", { name: "Vote for ramen" });
        await ramen.click();
        await trusted.screenshot({ path: join(screenshots, "vote.png") });
        const board = trusted.locator("#leaderboard");
        await expect.poll(() => board.innerText(), { timeout: 10_000 }).toContain("ramen");
        await trusted.screenshot({ path: join(screenshots, "leaderboard.png") });
        await browser.close();
        for (const name of ["vote.png", "leaderboard.png"]) {
          expect((await stat(join(screenshots, name))).size).toBeGreaterThan(5_000);
        }
      } finally {
        await engine.run([...compose, "--down"]);
      }
    },
    300_000,
  );

  /** Chromium in the engine's network, with a home of its own, where NSS keeps whom it trusts. */
  async function openBrowser(ca: string | undefined): Promise<Browser> {
    const home = await mkdtemp(join(scratch, "home-"));
    const database = join(home, ".pki", "nssdb");
    await mkdir(database, { recursive: true });
    execFileSync("certutil", ["-d", `sql:${database}`, "-N", "--empty-password"]);
    if (ca !== undefined)
      execFileSync("certutil", ["-d", `sql:${database}`, "-A", "-n", "mesh", "-t", "C,,", "-i", ca]);
    const program = join(home, "chromium");
    await writeFile(program, `#!/bin/sh\nexec ${engine.inside.join(" ")} ${CHROMIUM} "$@"\n`, { mode: 0o755 });
    return chromium.launch({
      executablePath: program,
      env: { ...process.env, HOME: home },
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP web:443 127.0.0.1:8443",
      ],
    });
  }
});
