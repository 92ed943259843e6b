import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { architecture } from "../../images/architecture.ts";
import { unpackDebian } from "../../images/debian.ts";
import { VERSION } from "../../runtime/version.ts";
import { createCliDeployment } from "../cli-deployment.ts";
import { makeExecutable, runExecutable } from "../executable.ts";

/** The command line as one file for arm64, made here and run by qemu's emulation of that machine. */

const ADDRESS = "127.184.2.3";

const scratch = mkdtempSync(join(tmpdir(), "executable-arm64-test-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const NEEDS = ["qemu-aarch64-static", "aarch64-linux-gnu-strip", "mmdebstrap"];
const missing = NEEDS.find((name) => spawnSync("which", [name]).status !== 0);

describe.skipIf(missing !== undefined)(
  `the executable for arm64${missing === undefined ? "" : ` (skipped: there is no ${missing})`}`,
  () => {
    const arm64 = architecture("arm64");
    const libraries = join(scratch, "libraries");
    let executable: string;

    beforeAll(async () => {
      executable = await makeExecutable(join(scratch, "build"), arm64, join(scratch, "downloads"));
      // What the README asks for, with what it depends on.
      await unpackDebian(["libstdc++6", "libatomic1"], arm64, libraries, {});
    }, 600_000);

    test("it generates, sets, verifies, backs up and restores", { timeout: 900_000 }, async () => {
      const deployment = createCliDeployment(ADDRESS);
      onTestFinished(async () => deployment.remove());
      const command = ["/usr/bin/env", "qemu-aarch64-static", "-L", libraries, executable];
      const contrast = async (...args: string[]): Promise<string> => {
        const all = ["--insecure", "--workspace-dir", deployment.file("."), ...args];
        const ended = await runExecutable(command, all, deployment.directory, { PATH: "/usr/bin" });
        expect(ended.code, `${args.join(" ")}: ${ended.stderr}`).toBe(0);
        return ended.stdout;
      };
      expect(await contrast("--version")).toContain(`contrast ${VERSION}\n`);
      await contrast("generate", "--offline", "--reference-values", "simulated", "deployment");
      const coordinator = await deployment.startCoordinator("state");
      await contrast("set", "-c", ADDRESS, "deployment");
      await contrast("verify", "-c", ADDRESS);
      await deployment.stop(coordinator);
      await contrast("backup", "--state-dir", "state", "-o", "backup");
      // It locks the folder, by native code of the architecture.
      expect(await contrast("restore", "backup", "--state-dir", "other")).toContain("history restored");
    });
  },
);
