import { type ChildProcess, spawn } from "node:child_process";
import { constants, createPrivateKey, privateDecrypt } from "node:crypto";
import { once } from "node:events";
import { globSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/** The demo as a user runs it. */

const root = join(import.meta.dirname, "..");
const directories: string[] = [];

interface Demo {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** Resolves with the first line that has the text. */
  readonly line: (text: string) => Promise<string>;
  readonly exited: Promise<number | null>;
}

function start(...args: string[]): Promise<{ demo: Demo; directory: string }> {
  return run(process.execPath, "demo/main.ts", ...args);
}

async function run(command: string, ...args: string[]): Promise<{ demo: Demo; directory: string }> {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout });
  reader.on("line", (line) => lines.push(line));
  const exited = once(child, "close").then(([code]) => code as number | null);
  const line = async (text: string): Promise<string> => {
    const find = (): string | undefined => lines.find((candidate) => candidate.includes(text));
    const late = exited.then(() => find() ?? `the demo ended without "${text}":\n${lines.join("\n")}`);
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      const next = await Promise.race([once(reader, "line"), late]);
      if (typeof next === "string") return next;
    }
  };
  const demo = { child, lines, line, exited };
  const directory = (await line("files and logs: ")).split("files and logs: ")[1] ?? "";
  directories.push(directory);
  return { demo, directory };
}

/** The processes that the demo started: each has the demo's directory in its environment. */
function leftovers(directory: string): string[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`).includes(directory);
      } catch {
        return false;
      }
    });
}

afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

describe("the whole demo, beside another one that a shell keeps", () => {
  let kept: { demo: Demo; directory: string };
  let output: string[] = [];
  let directory: string;
  let code: number | null;

  beforeAll(async () => {
    // With a second command, so that the shell waits for npm and does not become it.
    kept = await run("bash", "-c", "npm run demo -- --keep; true");
    const begun = await start();
    directory = begun.directory;
    code = await begun.demo.exited;
    output = begun.demo.lines;
  }, 120_000);

  test("every promise is kept, and the exit code says so", () => {
    expect(output.filter((line) => line.includes("FAILED"))).toEqual([]);
    expect(output.filter((line) => / ok {6}/.test(line))).toHaveLength(6);
    expect(output.at(-1)).toContain("6 passed, 0 failed");
    expect(code).toBe(0);
  });

  test("no process is left", () => {
    expect(leftovers(directory)).toEqual([]);
  });

  test("nothing secret is in any output or log", () => {
    const secrets = secretsOf(directory);
    expect(secrets.length).toBeGreaterThan(15);
    const logs = globSync(join(directory, "logs/*.log"));
    expect(logs.length).toBeGreaterThan(10);
    const texts = [output.join("\n"), ...logs.map((file) => readFileSync(file, "utf8"))];
    for (const { name, forms } of secrets) {
      for (const form of forms) {
        expect(
          texts.some((text) => text.includes(form)),
          `${name} is in a log`,
        ).toBe(false);
      }
    }
  });

  test("the two have no address in common", async () => {
    await kept.demo.line("web: https://");
    const blocks = [kept.demo.lines, output].map((lines) => new Set(lines.join().match(/127\.\d+(?=\.)/g)));
    expect(blocks.map((block) => block.size)).toEqual([1, 1]);
    expect(blocks[0]).not.toEqual(blocks[1]);
  }, 60_000);

  test("a kept demo ends with its shell, even if that is killed", async () => {
    await kept.demo.line("Ctrl-C stops it");
    expect(leftovers(kept.directory).length).toBeGreaterThan(7);
    kept.demo.child.kill("SIGKILL");
    // The demo and npm hold the other end of the pipe.
    await kept.demo.exited;
    expect(leftovers(kept.directory)).toEqual([]);
  });
});

test("a demo that is killed leaves no process", async () => {
  const { demo, directory } = await start();
  await demo.line("emoji runs at");
  expect(leftovers(directory).length).toBeGreaterThan(1);
  demo.child.kill("SIGKILL");
  await expect.poll(() => leftovers(directory), { timeout: 10_000 }).toEqual([]);
}, 60_000);

test("a demo that is interrupted fails and leaves no process", async () => {
  const { demo, directory } = await start();
  await demo.line("emoji runs at");
  expect(leftovers(directory).length).toBeGreaterThan(1);
  demo.child.kill("SIGINT");
  expect(await demo.exited).toBe(1);
  expect(leftovers(directory)).toEqual([]);
}, 60_000);

test("with --keep it stays until it is told to stop", async () => {
  const { demo, directory } = await start("--keep");
  expect(await demo.line("web: https://")).toMatch(/https:\/\/127\.\d+\.\d+\.\d+:8080$/);
  expect(leftovers(directory).length).toBeGreaterThan(7);
  demo.child.kill("SIGTERM");
  expect(await demo.exited).toBe(0);
  expect(leftovers(directory)).toEqual([]);
}, 120_000);

interface SecretText {
  readonly name: string;
  readonly forms: string[];
}

/** Every secret of a run, in the forms in which it could be printed. */
function secretsOf(directory: string): SecretText[] {
  const workspace = join(directory, "workspace");
  const bytes = (name: string, secret: Buffer): SecretText => {
    const base64 = secret.toString("base64").replace(/=+$/, "");
    const forms = [secret.toString("hex"), base64, secret.toString("base64url"), [...secret].join(",")];
    return { name, forms };
  };
  const pemFiles = [
    ...globSync(join(directory, "{pods,stolen}/**/key.pem")),
    ...globSync(join(workspace, "*.pem")),
    ...globSync(join(workspace, "simulated-tee/**/*-key.pem")),
  ].filter((file) => readFileSync(file, "utf8").includes("PRIVATE KEY"));
  const keys = pemFiles.flatMap((file) => {
    const key = createPrivateKey(readFileSync(file));
    const jwk = key.export({ format: "jwk" });
    const [, firstLine = ""] = readFileSync(file, "utf8").split("\n").slice(1);
    // The first line of PKCS#8 is the same for all keys of a kind; from the second on it is the key.
    return [bytes(file, Buffer.from(jwk.d ?? "", "base64url")), { name: file, forms: [firstLine.slice(0, 40)] }];
  });
  const workloadSecrets = globSync(join(directory, "pods/**/workload-secret-seed")).map((file) =>
    bytes(file, Buffer.from(readFileSync(file, "utf8"), "hex")),
  );
  const shares = JSON.parse(readFileSync(join(workspace, "seed-shares.json"), "utf8")) as {
    SeedShares: { EncryptedSeed: string }[];
  };
  const key = {
    key: createPrivateKey(readFileSync(join(workspace, "seedshare-owner.pem"))),
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: "sha256",
    oaepLabel: Buffer.from("seedshare"),
  };
  const seeds = shares.SeedShares.map(({ EncryptedSeed }) =>
    bytes("seed", privateDecrypt(key, Buffer.from(EncryptedSeed, "hex"))),
  );
  expect(workloadSecrets.length).toBeGreaterThan(3);
  expect(seeds).toHaveLength(1);
  return [...keys, ...workloadSecrets, ...seeds];
}
