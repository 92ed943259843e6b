import { expect, test } from "vitest";
import { Malformed } from "./environment.ts";
import { type Program, runProgram } from "./program.ts";

class Exited extends Error {}

const variables = {
  CONTRAST_TIMEOUT: {
    help: "how long",
    unset: 1,
    parse(text: string): number {
      if (text === "bad") throw Malformed.text(text, "a good one");
      return text.length;
    },
  },
};

async function run(
  argv: string[],
  env: Record<string, string>,
  body: Program<typeof variables>["run"] = async () => 7,
  commands: Program<typeof variables>["commands"] = {},
) {
  const seen = { stdout: "", stderr: "", code: -1, signals: new Map<string, (error: unknown) => void>() };
  const host = {
    argv: ["node", "program", ...argv],
    env,
    stdout: { write: (text: string) => (seen.stdout += text) },
    stderr: { write: (text: string) => (seen.stderr += text) },
    on: (event: string, listener: (error: unknown) => void) => seen.signals.set(event, listener),
    exit(code: number): never {
      seen.code = code;
      throw new Exited();
    },
  };
  const quiet: Program<typeof variables>["run"] = (running) => {
    running.log.level = "silent";
    return body(running);
  };
  await runProgram({ name: "program", summary: "does something", variables, run: quiet, commands }, host).catch(
    (error: unknown) => {
      if (!(error instanceof Exited)) throw error;
    },
  );
  return seen;
}

test("--help lists every variable, and --version is one line", async () => {
  const help = await run(["--help"], {});
  expect(help.code).toBe(0);
  expect(help.stdout).toContain("CONTRAST_TIMEOUT");
  expect(help.stdout).toContain("CONTRAST_LOG_LEVEL");
  expect((await run(["--version"], {})).stdout).toMatch(/^program \d+\.\d+\.\d+\n$/);
});

test.each([["--verbose"], ["start"], ["--help", "me"]])("the arguments %j are refused with code 2", async (...argv) => {
  const seen = await run(argv, {});
  expect(seen.code).toBe(2);
  expect(JSON.parse(seen.stderr)).toMatchObject({ level: "fatal", code: "arguments" });
  expect(seen.stderr).toMatch(/^.*arguments: unknown argument .*; correct the arguments of the container.*\n$/);
});

test("a command is run in place of the program, with the same configuration", async () => {
  const commands = {
    measure: {
      help: "measures",
      run: async ({ configuration }: { configuration: { CONTRAST_TIMEOUT: number } }) => configuration.CONTRAST_TIMEOUT,
    },
  };
  const measure = async (...argv: string[]) => run(argv, { CONTRAST_TIMEOUT: "four" }, undefined, commands);
  expect((await measure("measure")).code).toBe(4);
  expect((await measure()).code).toBe(7);
  expect((await measure("--help")).stdout).toContain(
    "[measure | --help | --version]\n\nCommands:\n  measure  measures\n",
  );
  expect((JSON.parse((await measure("measure", "me")).stderr) as { msg: string }).msg).toContain(
    'unknown argument (got "me", want measure, --help, --version or none)',
  );
  expect((await measure("toString")).code).toBe(2);
});

test("a bad configuration is code 2 and a message without a stack trace", async () => {
  const seen = await run([], { CONTRAST_TIMEOUT: "bad", CONTRAST_LOG_LEVEL: "bad" });
  expect(seen.code).toBe(2);
  expect(JSON.parse(seen.stderr)).toMatchObject({
    level: "fatal",
    program: "program",
    code: "configuration",
    msg:
      'configuration: 2 faults: CONTRAST_TIMEOUT: got "bad", want a good one; ' +
      'CONTRAST_LOG_LEVEL: got "bad", want debug or info or warn or error; ' +
      "correct these variables of the container and start it again",
  });
});

test("a bad configuration is one line for people, too", async () => {
  const seen = await run([], { CONTRAST_TIMEOUT: "bad", CONTRAST_LOG_FORMAT: "pretty" });
  expect(seen.stderr).toMatch(/^\S+ FATAL program configuration: 1 fault: CONTRAST_TIMEOUT: .* code=configuration\n$/);
});

test("an exception that nobody caught is exit code 1", async () => {
  const seen = await run([], {});
  seen.code = -1;
  expect(() => seen.signals.get("uncaughtException")?.(new Error("lost"))).toThrow(Exited);
  expect(seen.code).toBe(1);
});

test("the exit code is what the program returns, and 1 for what it throws", async () => {
  expect((await run([], {})).code).toBe(7);
  const broken = await run([], {}, async () => {
    throw new Error("broken");
  });
  expect(broken.code).toBe(1);
});

test("SIGTERM and SIGINT tell it to stop", async () => {
  let stop: AbortSignal | undefined;
  const seen = await run([], {}, async (running) => {
    stop = running.stop;
    return 0;
  });
  expect([...seen.signals.keys()]).toEqual(["uncaughtException", "SIGTERM", "SIGINT"]);
  seen.signals.get("SIGTERM")?.(undefined);
  expect(stop?.aborted).toBe(true);
});
