import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { commandTree } from "../cli/commands.ts";
import { architecture } from "../images/architecture.ts";
import { needsOf } from "../images/engine/fitness.ts";
import { buildTime } from "../runtime/build-time.ts";
import { VERSION } from "../runtime/version.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { makeExecutable, runExecutable } from "./executable.ts";

/** The command line as one file: as somebody has it who downloaded it, without Node and without anything else of ours. */

const ADDRESS = "127.87.8.1";
const NO_STRIP = spawnSync("which", ["strip"]).status === 0 ? "" : " (skipped: there is no strip; Debian: binutils)";

const root = join(import.meta.dirname, "..");
const scratch = mkdtempSync(join(tmpdir(), "executable-test-"));
const downloads = join(scratch, "downloads");
const own = architecture(process.arch);
let executable: string;

const contrast = (
  args: readonly string[],
  cwd = newFolder(),
  environment: Record<string, string> = {},
): Promise<Ended> => runExecutable([executable], args, cwd, environment);

let folders = 0;
function newFolder(): string {
  const folder = join(scratch, `folder-${++folders}`);
  mkdirSync(folder);
  return folder;
}

/** The words that call each command. */
function commandsOf(command: Command, words: readonly string[] = []): string[][] {
  return command.commands.flatMap((child) => {
    const own = [...words, child.name()];
    return [own, ...commandsOf(child, own)];
  });
}

describe.skipIf(NO_STRIP !== "")(`the executable${NO_STRIP}`, () => {
  beforeAll(async () => {
    executable = await makeExecutable(scratch, own, downloads);
  }, 180_000);
  afterAll(() => rmSync(scratch, { recursive: true }));

  test("it knows its version, and when it was built", async () => {
    const { code, stdout, stderr } = await contrast(["--version", "--output", "json"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ version: VERSION });
    expect(readFileSync(executable).includes(buildTime()?.toISOString() ?? "no commit")).toBe(true);
  });

  test(
    "every command prints its help, and ends in a sentence where nothing is at hand",
    { timeout: 90_000 },
    async () => {
      const fail = (): never => {
        throw new Error("no command runs here");
      };
      const commands = commandsOf(commandTree(fail, fail, fail));
      expect(commands.length).toBeGreaterThan(20);
      for (const words of commands) {
        const help = await contrast([...words, "--help"]);
        expect(help, words.join(" ")).toMatchObject({ code: 0, stderr: "" });
        expect(help.stdout).toMatch(new RegExp(`^Usage: contrast ${words.join(" ")} `));
      }
    },
  );

  test("every module of it can be loaded: the commands run, and say what they lack", async () => {
    const state = ["--state-dir", "nowhere"];
    for (const [args, said] of [
      [["verify", "-c", "127.0.0.1:1"], /^error: unreadable_file: /],
      [["set", "-c", "127.0.0.1:1", "."], /^error: /],
      [["recover", "-c", "127.0.0.1:1"], /^error: /],
      [["status", "-c", "127.0.0.1:1"], /^error: /],
      [["generate", "--reference-values", "metal-qemu-snp", "."], /^error: /],
      [["evidence", "show", "nothing"], /^error: unreadable_file: /],
      [["backup", ...state, "-o", "file"], /^error: /],
      [["restore", "nothing", ...state], /^error: unreadable_file: /],
    ] as const) {
      const { code, stderr } = await contrast(args);
      expect(stderr, args.join(" ")).toMatch(said);
      expect(stderr).not.toMatch(/^\s+at |Error \[|Cannot find|ERR_/m);
      expect(code, args.join(" ")).toBeGreaterThan(0);
    }
  });

  test("it brings the page along that verifies in a browser", async () => {
    const child = spawn(executable, ["verify", "--serve"], {
      cwd: newFolder(),
      env: {},
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    const answer = await fetch(/^page: (http:\S+)$/m.exec(line)?.[1] ?? "");
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(readFileSync(join(scratch, "dist/verifier/index.html")));
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([143, null]);
  });

  test("completion is a script that bash takes, and completes by it", async () => {
    const { code, stdout } = await contrast(["completion", "bash"]);
    expect(code).toBe(0);
    const script = `${stdout}\nCOMP_LINE="contrast veri" COMP_POINT=13; _contrast; echo "\${COMPREPLY[@]}"`;
    expect(execFileSync("bash", ["-c", script], { encoding: "utf8" }).trim()).toBe("verify");
  });

  describe("with a Coordinator", () => {
    let deployment: CliDeployment;
    let workspace: string;
    const insecurely = (...args: string[]): Promise<Ended> =>
      contrast(["--insecure", "--workspace-dir", deployment.file("."), ...args], workspace);

    beforeAll(() => {
      deployment = createCliDeployment(ADDRESS);
      workspace = deployment.directory;
    });
    afterAll(async () => deployment.remove());

    test("it generates, sets, verifies, backs up and restores", { timeout: 90_000 }, async () => {
      const generated = await insecurely("generate", "--offline", "--reference-values", "simulated", "deployment");
      expect(generated.code, generated.stderr).toBe(0);
      const coordinator = await deployment.startCoordinator("state");
      const set = await insecurely("set", "-c", ADDRESS, "deployment");
      expect(set.code, set.stderr).toBe(0);
      const verified = await insecurely("verify", "-c", ADDRESS);
      expect(verified.code, verified.stderr).toBe(0);
      expect(readFileSync(join(deployment.file("verify"), "report.html"), "utf8")).toContain("<!doctype html>");
      expect(readFileSync(join(deployment.file("."), "mesh-ca.pem"), "utf8")).toContain("BEGIN CERTIFICATE");
      await deployment.stop(coordinator);
      const backup = await insecurely("backup", "--state-dir", "state", "-o", "backup");
      expect(backup.code, backup.stderr).toBe(0);
      // It locks the folder, which takes native code.
      const restored = await insecurely("restore", "backup", "--state-dir", "other");
      expect(restored.code, restored.stderr).toBe(0);
      expect(restored.stdout).toContain("history restored");
    });

    test("it refuses a manifest that is not in force", async () => {
      const coordinator = await deployment.startCoordinator("state");
      const recovered = await insecurely("recover", "-c", ADDRESS);
      expect(recovered.code, recovered.stderr).toBe(0);
      const other = join(workspace, "other.json");
      const manifest = deployment.read("manifest.json");
      writeFileSync(other, manifest.replace(/\n$/, "\n\n"));
      const refused = await insecurely("verify", "-c", ADDRESS, "-m", other);
      expect(refused.code, refused.stderr).toBe(3);
      await deployment.stop(coordinator);
    });

    test("it runs no code that lies about: of its folder, the current one, or what the environment names", async () => {
      // As whoever may write into a folder of downloads, or into the one that somebody works in, would lay it out.
      const folder = newFolder();
      const here = join(folder, "contrast");
      cpSync(executable, here);
      const mark = join(folder, "ran");
      const evil = `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "")`;
      const lay = (path: string): void => {
        mkdirSync(path, { recursive: true });
        writeFileSync(join(path, "index.js"), evil);
      };
      const cpu = process.arch;
      for (const name of [`@koromix/koffi-linux-${cpu}`, "koffi", "commander", "fs"]) {
        lay(join(folder, "node_modules", name));
        lay(join(folder, "path", name));
        lay(join(folder, ".node_modules", name));
      }
      mkdirSync(join(folder, `linux_${cpu}`));
      writeFileSync(join(folder, `linux_${cpu}/koffi.node`), "no native code");
      writeFileSync(join(folder, "koffi.node"), "no native code");
      writeFileSync(join(folder, "evil.cjs"), evil);
      const environment = {
        HOME: folder,
        NODE_PATH: join(folder, "path"),
        NODE_OPTIONS: `--require ${join(folder, "evil.cjs")} --import ${join(folder, "evil.cjs")}`,
      };
      const args = ["restore", join(workspace, "backup"), "--state-dir", join(folder, "state")];
      const restored = await runExecutable([here], args, folder, environment);
      expect(restored.stderr).toBe("");
      expect(restored.code).toBe(0);
      expect(readdirSync(folder)).not.toContain("ran");
      // Nor is it Node, whatever its options are called.
      const asNode = await runExecutable([here], ["--require", "./evil.cjs", "status"], folder, environment);
      expect(asNode.stderr).toMatch(/unknown option '--require'/);
      expect(readdirSync(folder)).not.toContain("ran");
    });

    test("native code is a file for a moment only; without a place for it the lock is refused by name", async () => {
      const folder = newFolder();
      const temporary = join(folder, "tmp");
      mkdirSync(temporary);
      const args = (state: string): string[] => ["restore", join(workspace, "backup"), "--state-dir", state];
      const restored = await contrast(args("state"), folder, { TMPDIR: temporary });
      expect(restored.code, restored.stderr).toBe(0);
      expect(readdirSync(temporary)).toEqual([]);
      const refused = await contrast(args("another"), folder, { TMPDIR: join(folder, "nowhere") });
      expect(refused.stderr).toMatch(/^error: lock_unavailable: .*ENOENT/);
      expect(refused.stderr.trim().split("\n")).toHaveLength(1);
    });
  });

  test("it needs what the documents say, and nothing else", async () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const { glibc } = await needsOf(executable);
    expect(readme).toContain(`glibc ${glibc} or later`);
    const dynamic = execFileSync("readelf", ["--dynamic", "--wide", executable], { encoding: "utf8" });
    const libraries = Array.from(dynamic.matchAll(/\(NEEDED\).*\[(.+?)\.so/g), ([, name = ""]) => name);
    const ofGlibc = /^(libc|libdl|libm|libpthread|ld-linux-.+)$/;
    const others = libraries.filter((name) => !ofGlibc.test(name)).toSorted();
    expect(others).toEqual(["libatomic", "libgcc_s", "libstdc++"]);
    for (const name of others) if (name !== "libgcc_s") expect(readme).toContain(name);
  });

  test("its bytes name no folder of the machine that built it", () => {
    const bytes = readFileSync(executable);
    for (const path of [root, scratch, homedir() === "/root" ? scratch : homedir()]) {
      expect(bytes.includes(path), path).toBe(false);
    }
  });

  test("its bill has its digest and what is in it, and the licences of all that are beside it", () => {
    const read = (name: string): string => readFileSync(join(downloads, name), "utf8");
    const name = `contrast-linux-${own.oci}`;
    expect(readdirSync(downloads)).toEqual(["contrast-linux-LICENSES.txt", name, `${name}.cdx.json`]);
    const bill = JSON.parse(read(`${name}.cdx.json`)) as {
      metadata: { component: Record<string, unknown> };
      components: { name: string; licenses?: unknown }[];
    };
    const hashes = [{ alg: "SHA-256", content: sha256Hex(readFileSync(executable)) }];
    expect(bill.metadata.component).toMatchObject({ version: VERSION, hashes });
    const names = bill.components.map((component) => component.name);
    expect(names).toEqual(
      expect.arrayContaining(["node", "commander", "zod", "koffi", `@koromix/koffi-linux-${own.npm}`]),
    );
    const licenses = read("contrast-linux-LICENSES.txt");
    for (const name of names.filter((name) => !name.startsWith("@koromix/") && name !== "node")) {
      expect(licenses).toMatch(new RegExp(`^${name} \\d`, "m"));
    }
    for (const said of ["Node.js", "OpenSSL", "Copyright 2008 Google Inc."]) expect(licenses).toContain(said);
  });
});
