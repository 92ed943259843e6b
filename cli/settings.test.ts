import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { ConfigurationError } from "../runtime/environment.ts";
import { commandTree } from "./commands.ts";
import { applySettings } from "./settings.ts";

/** Where values of options come from, and how that is refused. */

let directory: string;
const directories: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "settings-test-"));
  directories.push(directory);
});
afterAll(() => {
  for (const folder of directories) rmSync(folder, { recursive: true });
});

const config = (...lines: string[]): void => writeFileSync(join(directory, "contrast.toml"), lines.join("\n"));
const place = (line: number): string => `${join(directory, "contrast.toml")}:${line}`;

interface Outcome {
  readonly options: Record<string, unknown>;
  /** Which options are not by a flag, and where they are from. */
  readonly from: readonly string[];
}

/** Parses a command line in the workspace `directory`, up to the point where the command would begin. */
async function parse(words: string, environment: Record<string, string> = {}): Promise<Outcome> {
  let options: Record<string, unknown> = {};
  let origins = (): string[] => [];
  const unused = (): never => {
    throw new Error("the command has begun");
  };
  const program = commandTree(unused, unused, unused);
  program
    .hook("preSubcommand", async (_, command) => {
      origins = await applySettings(program, command, { CONTRAST_WORKSPACE_DIR: directory, ...environment });
    })
    .hook("preAction", (_, command) => {
      options = command.optsWithGlobals();
    });
  await expect(program.parseAsync(words.split(" "), { from: "user" })).rejects.toThrow("the command has begun");
  return { options, from: origins().filter((origin) => !origin.includes("CONTRAST_WORKSPACE_DIR")) };
}

/** The lines of the refusal, without the first. */
async function faults(words: string, environment: Record<string, string> = {}): Promise<string[]> {
  const program = commandTree(
    () => expect.fail(),
    () => expect.fail(),
    () => expect.fail(),
  );
  program.hook("preSubcommand", async (_, command) => {
    await applySettings(program, command, { CONTRAST_WORKSPACE_DIR: directory, ...environment });
  });
  const error: unknown = await program.parseAsync(words.split(" "), { from: "user" }).catch((error: unknown) => error);
  if (!(error instanceof ConfigurationError)) throw error;
  return error.faults.map(({ where, got, want }) => `${where}: got ${got}, want ${want}`);
}

test("who reads a secret, and what else a change says, stands in the command alone", async () => {
  const environment = { CONTRAST_FOR: "evil", CONTRAST_FROM_FILE: "evil", CONTRAST_REVOKE: "1", CONTRAST_PREPARE: "1" };
  for (const words of ["secret set db -c flag", "volume allow-format data -c flag"]) {
    const { options } = await parse(words, environment);
    expect(Object.keys(options)).not.toEqual(expect.arrayContaining(["for"]));
    expect(options).not.toMatchObject({ revoke: true });
    expect(options).not.toMatchObject({ prepare: true });
  }
  config("[secret]", 'for = ["evil"]', "revoke = true", "[volume]", 'for = "evil"');
  const refused = await faults("secret set db -c flag");
  expect(refused.map((fault) => fault.replace(/,.*/, ""))).toEqual(
    [2, 3, 5].map((line, index) => `${place(line)}: got the unknown key "${["for", "revoke", "for"][index]}"`),
  );
});

test("a flag goes before the environment, the environment before the file, the file before the default", async () => {
  expect((await parse("verify -c flag")).options).toMatchObject({ coordinator: "flag:1313", output: "text" });
  config('coordinator = "file:1"', 'output = "json"');
  expect(await parse("verify")).toMatchObject({
    options: { coordinator: "file:1", output: "json" },
    from: [`--output from ${place(2)}`, `--coordinator from ${place(1)}`],
  });
  const environment = { CONTRAST_COORDINATOR: "environment" };
  expect(await parse("verify", environment)).toMatchObject({
    options: { coordinator: "environment:1313" },
    from: ["--coordinator from CONTRAST_COORDINATOR", `--output from ${place(2)}`],
  });
  expect(await parse("verify --coordinator flag --output text", environment)).toMatchObject({
    options: { coordinator: "flag:1313", output: "text" },
    from: [],
  });
});

test("a command's table goes before what stands for all", async () => {
  config('coordinator = "all"', "[set]", 'coordinator = "one"', "atomic = true");
  expect((await parse("set x")).options).toMatchObject({ coordinator: "one:1313", atomic: true });
  expect((await parse("verify")).options).toMatchObject({ coordinator: "all:1313" });
  expect((await parse("verify")).options).not.toHaveProperty("atomic");
});

test("paths of the file are relative to it, and those of the environment are not", async () => {
  config('manifest = "m.json"', "[generate]", 'reference-values = "simulated"', 'workload-owner-key = ["/k", "l"]');
  expect((await parse("generate x")).options).toMatchObject({
    manifest: join(directory, "m.json"),
    workloadOwnerKey: ["/k", join(directory, "l")],
  });
  expect((await parse("generate x", { CONTRAST_MANIFEST: "n.json" })).options).toMatchObject({ manifest: "n.json" });
});

test("a flag begins a list anew, and is repeatable", async () => {
  config("[generate]", 'reference-values = "simulated"', 'workload-owner-key = ["a", "b"]');
  expect((await parse("generate -w c -w d x")).options).toMatchObject({ workloadOwnerKey: ["c", "d"] });
  const environment = { CONTRAST_WORKLOAD_OWNER_KEY: "e" };
  expect((await parse("generate x", environment)).options).toMatchObject({ workloadOwnerKey: ["e"] });
});

test("parsed values of the file are lists that a flag begins anew, too", async () => {
  config("[generate]", 'reference-values = ["K3s-QEMU-TDX", "metal-qemu-snp"]', 'allow = ["exec"]');
  const { options } = await parse("generate x");
  expect(options).toMatchObject({ referenceValues: ["k3s-qemu-tdx", "metal-qemu-snp"], allow: ["exec"] });
  const flags = await parse("generate --reference-values SIMULATED --allow logs x");
  expect(flags.options).toMatchObject({ referenceValues: ["simulated"], allow: ["logs"] });
  const environment = { CONTRAST_REFERENCE_VALUES: "Metal-QEMU-TDX" };
  expect((await parse("generate x", environment)).options).toMatchObject({ referenceValues: ["metal-qemu-tdx"] });
});

test("an alias is its option, as a flag alone", async () => {
  config("[generate]", 'reference-values = "simulated"', 'workload-owner-key = ["a", "b"]');
  const { options } = await parse("generate --add-workload-owner-key c -w d --add-workload-owner-key e --out f x");
  expect(options).toMatchObject({ workloadOwnerKey: ["c", "d", "e"], outputFile: "f" });
  expect(options).not.toHaveProperty("out");
  expect((await parse("set -c a -s one -s two x")).options).toMatchObject({ signature: ["one", "two"] });
  expect((await parse("generate x", { CONTRAST_OUT: "g" })).options).not.toMatchObject({ outputFile: "g" });
  config("[generate]", 'reference-values = "simulated"', 'out = "a"');
  expect(await faults("generate x")).toEqual([expect.stringContaining(`${place(3)}: got the unknown key "out"`)]);
});

test("options without a value are true or false in the file, and 1 or 0 in the environment", async () => {
  config("[generate]", 'reference-values = "simulated"', "strict = true", "offline = false", "seedshare-threshold = 2");
  const { options } = await parse("generate x", { CONTRAST_DISABLE_UPDATES: "1", CONTRAST_INSECURE: "0" });
  expect(options).toMatchObject({ strict: true, disableUpdates: true, seedshareThreshold: 2 });
  expect(options).not.toMatchObject({ offline: expect.anything() });
  expect(options).not.toMatchObject({ insecure: expect.anything() });
  expect((await parse("generate x", { CONTRAST_STRICT: "0" })).options).not.toMatchObject({
    strict: expect.anything(),
  });
  expect((await parse("verify -c a", { CONTRAST_INSECURE: "1" })).options).toMatchObject({ insecure: true });
});

test("everything that is wrong with the file is said with its line", async () => {
  config(
    "# comment",
    'cordinator = "a"',
    "insecure = true",
    'workspace-dir = "."',
    'reference-values = "simulated"',
    "[generate]",
    'reference-values = "sgx"',
    "workload-owner-key = [",
    '  "a",',
    "  3,",
    "]",
    'seedshare-threshold = "many"',
    "strict = 1",
    "offline = 2026-01-01",
    "[sett]",
    "[set]",
    'coordinator = "host:0"',
    'wrong = """',
    'atomic = true"""',
  );
  expect(await faults("verify")).toEqual([
    `${place(2)}: got the unknown key "cordinator", want coordinator`,
    expect.stringContaining(
      `${place(3)}: got the key insecure, want --insecure or CONTRAST_INSECURE=1: a file that came`,
    ),
    expect.stringContaining(`${place(4)}: got the key workspace-dir, want --workspace-dir or`),
    `${place(5)}: got the unknown key "reference-values", want it in the table [generate]`,
    expect.stringContaining(`${place(7)}: got "sgx", want aks-clh-snp or `),
    `${place(8)}: got "3", want a string in quotes`,
    `${place(12)}: got "many", want a whole number from 1 to the number of seed share owners' keys`,
    `${place(13)}: got "1", want true or false`,
    `${place(14)}: got a date, want true or false`,
    `${place(15)}: got the unknown key "sett", want set`,
    `${place(17)}: got "host:0", want host:port, like coordinator.example.com:1313, or https://host without a query`,
    expect.stringContaining(`${place(18)}: got the unknown key "wrong", want one of coordinator, `),
  ]);
});

test.for([
  ["a = 1\na = 2", ":2:1: got trying to redefine an already defined table or value, want TOML"],
  ["a = ", ":1:5: got invalid value, want TOML"],
  [Buffer.from([0x61, 0xff]), ": got bytes that are no text, want TOML in UTF-8"],
  ["#".repeat(20_000), ": got 20000 bytes, want at most 16384"],
] as const)("the file %j is refused", async ([content, fault]) => {
  writeFileSync(join(directory, "contrast.toml"), content);
  expect(await faults("verify")).toEqual([`${join(directory, "contrast.toml")}${fault}`]);
});

test("everything that is wrong with the environment is said with the variable", async () => {
  const environment = {
    CONTRAST_COORDINATOR: "ftp://host",
    CONTRAST_INSECURE: "yes",
    CONTRAST_MANIFEST: "",
    CONTRAST_LOG_LEVL: "debug",
    CONTRAST_MANIFES: "m.json",
    CONTRAST_SOMETHING: "of somebody else",
  };
  expect(await faults("verify", environment)).toEqual([
    'CONTRAST_INSECURE: got "yes", want 1 or 0',
    'CONTRAST_COORDINATOR: got "ftp://host", want host:port, like coordinator.example.com:1313, or https://host without a query',
    'CONTRAST_MANIFEST: got "", want a file',
    "CONTRAST_LOG_LEVL: got an unknown variable, want CONTRAST_LOG_LEVEL",
    "CONTRAST_MANIFES: got an unknown variable, want CONTRAST_MANIFEST",
  ]);
});

test("what judges evidence is told by flags alone", async () => {
  const environment = { CONTRAST_MANIFEST: "m.json", CONTRAST_OUTPUT: "json", CONTRAST_ALLOW_DEBUG: "1" };
  const { options } = await parse("evidence verify --snp r", environment);
  expect(options).toMatchObject({ output: "json", snp: "r" });
  for (const absent of ["manifest", "allowDebug"]) expect(options).not.toHaveProperty(absent);
  config("[evidence]", "allow-debug = true");
  expect(await faults("evidence verify --snp r")).toEqual([
    expect.stringContaining(`${place(1)}: got the unknown key "evidence", want one of `),
  ]);
});

test("the workspace has to be there, but for generate", async () => {
  const missing = { CONTRAST_WORKSPACE_DIR: join(directory, "missing") };
  await expect(faults("verify -c a", missing)).rejects.toMatchObject({
    code: "unreadable_file",
    where: expect.stringMatching(/^--workspace-dir .*missing$/),
    got: "ENOENT",
  });
  expect((await parse("generate --reference-values simulated x", missing)).options).toMatchObject({
    workspaceDir: missing.CONTRAST_WORKSPACE_DIR,
  });
  mkdirSync(join(directory, "contrast.toml"));
  await expect(faults("verify -c a")).rejects.toMatchObject({ code: "unreadable_file", got: "EISDIR" });
});
