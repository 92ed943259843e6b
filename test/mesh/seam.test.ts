import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { engineFile } from "../../mesh-proxy/native/addon.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { startProgram } from "../programs.ts";

/** What Node may do with the engine by mistake: it is an error, and never the end of the process. */

const NO_ENGINE = engineFile() === undefined ? " (skipped: there is no engine; npm run build:engine)" : "";

async function outcome(...args: readonly string[]): Promise<{ code: number | null; text: readonly string[] }> {
  const { exited, text, child } = startProgram(["test/mesh/seam/caller.ts", ...args]);
  onTestFinished(() => void child.kill("SIGKILL"));
  return { code: await exited, text };
}

describe.skipIf(NO_ENGINE !== "")(`the engine as an addon${NO_ENGINE}`, { timeout: 120_000 }, () => {
  test("takes any values in any order, or throws", async () => {
    const folder = await mkdtemp(join(tmpdir(), "seam-"));
    onTestFinished(async () => rm(folder, { recursive: true }));
    const { meshCa, issue } = await createMesh();
    const file = join(folder, "told.json");
    expect(await outcome("calls", file, JSON.stringify({ meshCa, ...(await issue()) }))).toEqual({ code: 0, text: [] });
    const { accepted, refused } = JSON.parse(await readFile(file, "utf8")) as Record<string, number>;
    expect(accepted).toBeGreaterThan(500);
    expect(refused).toBeGreaterThan(500);
  });

  test.each(["exit", "worker"])("may be at work when its process, or a thread of Node, ends: %s", async (mode) => {
    expect(await outcome(mode)).toEqual({ code: 7, text: [] });
  });

  // docs/decisions/0036-faults-of-the-engine.md
  test("ends the process when one of its threads has a fault, and says where that was", async () => {
    const { child, exited, text } = startProgram(["test/mesh/seam/caller.ts", "fault"]);
    onTestFinished(() => void child.kill("SIGKILL"));
    expect(await exited).toBeNull();
    expect(child.signalCode).toBe("SIGABRT");
    expect(text.join("\n")).toMatch(/thread 'engine-\d'.* panicked at core\/src\/worker\/mod\.rs.*\nepoll_wait: /);
  });
});
