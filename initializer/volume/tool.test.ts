import { expect, test } from "vitest";
import { runTool } from "./tool.ts";

test("what a tool prints is returned, and it reads its input", async () => {
  expect(await runTool("/bin/sh", ["-c", "cat; echo $LC_ALL"], { input: "in " })).toBe("in C\n");
});

test("a tool that fails is told with its exit code and the last it said", async () => {
  await expect(runTool("/bin/sh", ["-c", "echo one >&2; echo two >&2; exit 5"])).rejects.toMatchObject({
    code: "volume_tool_failed",
    where: "/bin/sh -c echo one >&2; echo two >&2; exit 5",
    got: "exit code 5: one; two",
  });
});

test("what it reads is not told", async () => {
  const failed = runTool("/bin/sh", ["-c", "exit 1"], { input: "a secret" });
  await expect(failed).rejects.toMatchObject({ got: "exit code 1" });
  expect(JSON.stringify(await failed.catch((error: unknown) => error))).not.toContain("a secret");
});

test("a tool that does not end is killed", async () => {
  await expect(runTool("/bin/sleep", ["60"], { timeout: 100 })).rejects.toMatchObject({ got: "killed by SIGKILL" });
});

test("a tool that says much is not kept in memory", async () => {
  const said = await runTool("/bin/sh", ["-c", "head -c 1000000 /dev/zero | tr '\\0' a"]);
  expect(said.length).toBe(16_384);
});

test("a tool that is missing is named", async () => {
  await expect(runTool("/sbin/contrast-no-such-tool", [])).rejects.toMatchObject({
    code: "volume_tool_failed",
    got: expect.stringContaining("ENOENT") as string,
  });
});
