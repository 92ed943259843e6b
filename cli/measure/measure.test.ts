import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, expect, test } from "vitest";
import { parseSnpFirmware } from "../../measurement/snp/firmware.ts";
import { measureSnp } from "../../measurement/snp/measure.ts";
import { parseTdxFirmware } from "../../measurement/tdx/firmware.ts";
import { commandLineEvents, kernelEvents, replay } from "../../measurement/tdx/rtmr.ts";
import { knownConfigurationEvents } from "../../measurement/tdx/td-hob.ts";
import { makeEventLog } from "../../measurement/tdx/test-event-log.ts";
import { INTEL_TDX, makeFirmware, makeKernel } from "../../measurement/test-firmware.ts";
import { CodedError } from "../../runtime/errors.ts";
import { makeContext } from "../evidence/test-command.ts";
import { exitCodeOf } from "../exit-code.ts";
import { readMeasurements, type SnpMeasurements, type TdxMeasurements } from "../workspace/measurements-file.ts";
import { addMeasureCommand } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "measure-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

function put(name: string, content: string | Buffer): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

const FIRMWARE = put("amdsev.fd", makeFirmware());
const TDX_FIRMWARE = put("tdx.fd", makeFirmware({ tdx: INTEL_TDX }));
const KERNEL = put("vmlinuz", makeKernel());
const CUT = put("cut", makeKernel().subarray(0, -1));
const INITRD = put("initrd", "initrd");
const VERITY = 'panic=1 dm-mod.create="dm-verity,,,ro,0 8 verity 1 /dev/vda1"';

interface Outcome {
  readonly out: string;
  readonly warnings: readonly string[];
}

/** Runs `contrast measure …`. */
async function run(format: "text" | "json", ...words: readonly string[]): Promise<Outcome> {
  const { context, output } = makeContext(new Date(), format);
  const warnings: string[] = [];
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  addMeasureCommand(program, () => ({ ...context, warn: (line) => void warnings.push(line) }));
  for (const { commands } of program.commands) {
    for (const command of commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
  }
  await program.parseAsync(["measure", ...words], { from: "user" });
  return { out: output.join(""), warnings };
}

async function refusal(...words: readonly string[]): Promise<{ code: string; exit: number; text: string }> {
  const error: unknown = await run("text", ...words).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof CodedError)) throw error ?? new Error("was accepted");
  return { code: error.code, exit: exitCodeOf(error), text: error.describe() };
}

const SNP = ["snp", "--firmware", FIRMWARE, "--kernel", KERNEL, "--cmdline", VERITY];

function deployment(name: string, spec: string, annotations = ""): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  template:
    metadata: {annotations: {${annotations}}}
    spec:
      runtimeClassName: contrast-cc
      containers:
      - ${spec}
`;
}

const LIMITED = (cpu: string): string => `{name: c, image: "i:1", resources: {limits: {cpu: "${cpu}", memory: 1Gi}}}`;

test("the measurements are those of the files, for each number of vCPUs once", async () => {
  const { out, warnings } = await run("text", ...SNP, "--vcpus", "2", "--vcpus", "1", "--vcpus", "2");
  const boot = { kernel: makeKernel(), initrd: undefined, commandLine: VERITY };
  const want = measureSnp(parseSnpFirmware(makeFirmware()), boot, { signature: 0x800f12, features: 1n }, [1, 2]);
  const lines = Array.from(
    want,
    ([count, value]) => `  ${count} vCPU${count === 1 ? "" : "s"}: ${value.toString("hex")}\n`,
  );
  expect(out).toBe(`measurements:\n${lines.join("")}\n`.replace(/\n\n$/, "\n"));
  expect(warnings).toEqual([]);
});

test("without a command line it is measured as empty, with a warning", async () => {
  const { warnings, out } = await run("json", ...SNP.slice(0, -2), "--vcpus", "1");
  expect(warnings).toContainEqual(expect.stringContaining("the command line is empty"));
  expect((await run("json", ...SNP.slice(0, -1), "", "--vcpus", "1")).out).toBe(out);
});

test("several numbers and several files may stand behind one option", async () => {
  const paths = ["a", "b"].map((name) => put(`${name}.yml`, deployment(name, LIMITED(name === "a" ? "1" : "4"))));
  const { out } = await run("json", ...SNP, "--vcpus", "7,8", "--shim", "go", "--pods", ...paths);
  expect((JSON.parse(out) as SnpMeasurements).measurements.map(({ vcpus }) => vcpus)).toEqual([2, 5, 7, 8]);
  await expect(run("json", ...SNP, "--vcpus", "1,0")).rejects.toThrow("from 1 to 1024");
});

test("pods say how many vCPUs, by each of Kata's runtimes", async () => {
  mkdirSync(join(folder, "pods"), { recursive: true });
  put("pods/small.yml", deployment("small", `{name: c, image: "i:1"}`));
  put("pods/large.yml", deployment("large", LIMITED("1500m")));
  put("pods/other.yml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n");
  const counts = async (...words: readonly string[]): Promise<number[]> => {
    const { out } = await run("json", ...SNP, "--pods", join(folder, "pods"), ...words);
    return (JSON.parse(out) as SnpMeasurements).measurements.map(({ vcpus }) => vcpus);
  };
  expect(await counts()).toEqual([1, 2, 3]);
  expect(await counts("--shim", "go")).toEqual([1, 3]);
  expect(await counts("--shim", "runtime-rs")).toEqual([1, 2]);
  expect(await counts("--shim", "go", "--default-vcpus", "2")).toEqual([2, 4]);
  expect(await counts("--shim", "go", "--vcpus", "8")).toEqual([1, 3, 8]);
  expect((await run("text", ...SNP, "--pods", join(folder, "pods"))).out).toContain("Deployment/large, go: 3 vCPUs");
});

test("a pod is measured as it is, and as `generate` makes it, which gives it memory limits", async () => {
  const path = put("unlimited.yml", deployment("unlimited", `{name: c, image: "i:1"}`));
  const words = [...SNP, "--pods", path, "--shim", "runtime-rs", "--default-vcpus", "4"];
  const { out } = await run("json", ...words);
  expect((JSON.parse(out) as SnpMeasurements).measurements.map(({ vcpus }) => vcpus)).toEqual([1, 4]);
});

test("a pod whose size does not follow is refused, with its place", async () => {
  const path = put("bad.yml", deployment("bad", LIMITED("1 CPU")));
  const bad = await refusal(...SNP, "--pods", path);
  expect(bad).toMatchObject({ code: "invalid_resource", exit: 2 });
  expect(bad.text).toMatch(/bad\.yml:10:\d+, .*limits\.cpu, got "1 CPU"/);
  const name = "io.katacontainers.config.hypervisor.kernel_params";
  const other = put("params.yml", deployment("params", LIMITED("1"), `${name}: agent.debug_console`));
  expect((await refusal(...SNP, "--pods", other)).text).toMatch(/params\.yml:6:\d+, io\.katacontainers/);
});

test("a pod may have default_vcpus of its own, by annotation", async () => {
  const name = "io.katacontainers.config.hypervisor.default_vcpus";
  const path = put("own.yml", deployment("own", LIMITED("1"), `${name}: "4"`));
  const { out } = await run("json", ...SNP, "--pods", path, "--shim", "go");
  expect((JSON.parse(out) as SnpMeasurements).measurements.map(({ vcpus }) => vcpus)).toEqual([5]);
});

test("what it writes as JSON is what `generate` reads", async () => {
  const written = await run("json", ...SNP, "--initrd", INITRD, "--vcpus", "1");
  const read = await readMeasurements(put("measurements.json", written.out));
  expect(read).toEqual(JSON.parse(written.out));
  expect(read.inputs).toMatchObject({ commandLine: VERITY, initrd: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
  const quote = await run("json", "tdx", "--firmware", TDX_FIRMWARE, "--kernel", KERNEL, "--cmdline", VERITY);
  expect(await readMeasurements(put("tdx.json", quote.out))).toEqual(JSON.parse(quote.out));
});

test("the command line comes from a file, without the break at its end", async () => {
  const path = put("cmdline", `${VERITY}\n`);
  const [own, file] = await Promise.all(
    [VERITY, `@${path}`].map((text) =>
      run("json", "snp", "--firmware", FIRMWARE, "--kernel", KERNEL, "--cmdline", text, "--vcpus", "1"),
    ),
  );
  expect(file).toEqual(own);
});

test("parameters that let the host in are warned of, and a guest image that nobody measures", async () => {
  const warningsFor = async (text: string, ...words: readonly string[]): Promise<readonly string[]> =>
    (await run("text", "snp", "--firmware", FIRMWARE, "--kernel", KERNEL, "--cmdline", text, "--vcpus", "1", ...words))
      .warnings;
  for (const parameter of [
    "agent.debug_console",
    "agent.debug_console_vport=1026",
    "agent.devmode",
    "agent.guest_components_rest_api=all",
    "systemd.debug_shell",
    "systemd.debug-shell=1",
    "init=/bin/sh",
    "rd.break",
  ]) {
    expect(await warningsFor(`${VERITY} ${parameter}`)).toEqual([expect.stringContaining(parameter)]);
  }
  expect(await warningsFor(`${VERITY} agent.guest_components_rest_api=attestation systemd.debug_shell=0`)).toEqual([]);
  const extension = "kata.extension.coco.verity_params=";
  expect(await warningsFor(`${VERITY} ${extension}root_hash=00`)).toEqual([]);
  expect(await warningsFor(`${VERITY} ${extension}`)).toEqual([expect.stringContaining("without a root hash")]);
  expect(await warningsFor(`panic=1 ${extension}root_hash=00`)).toEqual([
    expect.stringContaining("image is not measured"),
  ]);
  expect(await warningsFor("panic=1")).toEqual([expect.stringContaining("the guest's image is not measured")]);
  expect(await warningsFor("panic=1", "--initrd", INITRD)).toEqual([]);
  // OVMF puts `initrd=initrd ` before it.
  expect(await warningsFor("x".repeat(2033), "--initrd", INITRD)).toEqual([]);
  expect(await warningsFor("x".repeat(2034), "--initrd", INITRD)).toEqual([
    expect.stringContaining("behind 2033 bytes"),
  ]);
  expect(await warningsFor(VERITY, "--kernel", INITRD)).toEqual([expect.stringContaining("no bzImage")]);
  const alone = await run("text", "snp", "--firmware", FIRMWARE, "--vcpus", "1");
  expect(alone.warnings).toEqual([expect.stringContaining("the host may start anything")]);
});

test("inputs that don't fit together are refused by name", async () => {
  const without = put(
    "without.fd",
    makeFirmware({ snp: [{ address: 0x80_0000, size: 4096, type: 1 }], resetVector: 1 }),
  );
  const debian = ["snp", "--firmware", without, "--kernel", KERNEL, "--cmdline", VERITY, "--vcpus", "1"];
  expect(await refusal(...debian)).toMatchObject({ code: "no_kernel_hashes_section", exit: 2 });
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["usage", SNP],
    ["usage", ["snp", "--firmware", FIRMWARE, "--initrd", INITRD, "--vcpus", "1"]],
    ["usage", ["snp", "--firmware", FIRMWARE, "--cmdline", "a", "--vcpus", "1"]],
    ["usage", [...SNP, "--vcpus", "1", "--guest-svn", "1"]],
    ["no_snp_metadata", ["snp", "--firmware", TDX_FIRMWARE, "--vcpus", "1"]],
    ["no_tdx_metadata", ["tdx", "--firmware", FIRMWARE]],
    ["malformed_kernel", ["snp", "--firmware", FIRMWARE, "--kernel", CUT, "--cmdline", "a", "--vcpus", "1"]],
    ["malformed_kernel", ["tdx", "--firmware", TDX_FIRMWARE, "--kernel", INITRD, "--cmdline", "a"]],
    ["malformed_firmware", ["snp", "--firmware", INITRD, "--vcpus", "1"]],
    ["malformed_file", ["snp", "--firmware", FIRMWARE, "--kernel", put("empty", ""), "--cmdline", "a", "--vcpus", "1"]],
    ["malformed_file", [...SNP.slice(0, -1), "a\nb", "--vcpus", "1"]],
    ["malformed_file", [...SNP, "--vcpus", "1", "--id-key", INITRD]],
    ["unreadable_file", ["snp", "--firmware", join(folder, "nothing"), "--vcpus", "1"]],
    ["unreadable_file", ["snp", "--firmware", folder, "--vcpus", "1"]],
    ["usage", ["tdx", "--firmware", TDX_FIRMWARE, "--memory", "8"]],
    ["usage", ["tdx", "--firmware", TDX_FIRMWARE, "--kernel", KERNEL, "--cmdline", ""]],
  ];
  for (const [code, words] of cases) {
    expect(await refusal(...words), words.join(" ")).toMatchObject({ code, exit: 2 });
  }
});

test("ID blocks are made where a key is given", async () => {
  const [id, author] = ["id", "author"].map((name) => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    return put(`${name}.pem`, privateKey.export({ type: "pkcs8", format: "pem" }));
  });
  const ids = ["--family-id", "01".repeat(16), "--image-id", "02".repeat(16), "--guest-svn", "7", "--policy", "b0000"];
  const words = [...SNP, "--vcpus", "1", "--vcpus", "2", "--id-key", id ?? "", "--author-key", author ?? "", ...ids];
  const file = JSON.parse((await run("json", ...words)).out) as SnpMeasurements;
  for (const { measurement, idBlock = "", idAuth = "" } of file.measurements) {
    const block = Buffer.from(idBlock, "base64");
    expect(block.toString("hex")).toBe(
      `${measurement}${"01".repeat(16)}${"02".repeat(16)}010000000700000000000b0000000000`,
    );
    expect(Buffer.from(idAuth, "base64")).toHaveLength(4096);
  }
  expect(file.idKeyDigest).toMatch(/^[0-9a-f]{96}$/);
  expect(file.authorKeyDigest).not.toBe(file.idKeyDigest);
});

test("the measurement does not depend on the policy, and one that allows debugging is warned of", async () => {
  const own = await run("json", ...SNP, "--vcpus", "1", "--policy", "0x30000");
  expect(own).toEqual(await run("json", ...SNP, "--vcpus", "1"));
  const debug = await run("json", ...SNP, "--vcpus", "1", "--policy", "b0000");
  expect(debug).toEqual({ out: own.out, warnings: [expect.stringContaining("may debug")] });
  await expect(run("json", ...SNP, "--vcpus", "1", "--policy", "0x10000")).rejects.toThrow("bit 17");
});

test("of TDX it says what does not follow from files", async () => {
  const words = ["tdx", "--firmware", TDX_FIRMWARE, "--kernel", KERNEL, "--cmdline", VERITY];
  const file = JSON.parse((await run("json", ...words, "--memory", "2048")).out) as TdxMeasurements;
  expect(file.rtmrs?.[3]).toBe("00".repeat(48));
  expect(file.rtmr0.known).toHaveLength(2);
  expect(file.rtmr0.unknown.join()).toContain("ACPI");
  const { out } = await run("text", ...words);
  expect(out).toContain("RTMR0, what does not:\n  the list of memory (TD HOB): give --memory\n");
  const alone = JSON.parse((await run("json", "tdx", "--firmware", TDX_FIRMWARE)).out) as TdxMeasurements;
  expect([alone.mrTd, alone.rtmrs]).toEqual([file.mrTd, undefined]);
});

test("the log of a trusted guest gives RTMR0, if it agrees with the files", async () => {
  const boot = { kernel: makeKernel(), initrd: undefined, commandLine: VERITY };
  const known = knownConfigurationEvents(parseTdxFirmware(makeFirmware({ tdx: INTEL_TDX })), 2048);
  const acpi = { what: "", digest: Buffer.alloc(48, 7) };
  const path = put(
    "CCEL",
    makeEventLog([
      ...[...known, acpi].map(({ digest }) => ({ index: 1, type: 0xa, digest })),
      ...kernelEvents(boot).map(({ digest }) => ({ index: 2, type: 6, digest })),
      ...commandLineEvents(boot).map(({ digest }) => ({ index: 3, type: 6, digest })),
    ]),
  );
  const words = ["tdx", "--firmware", TDX_FIRMWARE, "--kernel", KERNEL, "--cmdline", VERITY, "--event-log", path];
  const { out } = await run("json", ...words, "--memory", "2048");
  const file = await readMeasurements(put("logged.json", out));
  expect(file).toMatchObject({
    rtmrs: { 0: replay([...known, acpi]).toString("hex") },
    rtmr0: { believed: [{ digest: "07".repeat(48) }] },
  });
  expect((await run("text", ...words, "--memory", "2048")).out).toMatch(/^RTMR0: [0-9a-f]{96}$/m);
  expect(await refusal(...words, "--memory", "4096")).toMatchObject({ code: "event_log_mismatch", exit: 2 });
  expect(await refusal(...words)).toMatchObject({ code: "usage" });
  const broken = [...words.slice(0, -1), INITRD, "--memory", "2048"];
  expect(await refusal(...broken)).toMatchObject({ code: "malformed_event_log" });
});

test.each([
  ["no JSON", "measurement"],
  ["another document", "{}"],
  ["no measurement", JSON.stringify({ tee: "snp" })],
])("a file with %s is no file of measurements", async (_, text) => {
  await expect(readMeasurements(put("other.json", text))).rejects.toMatchObject({ code: "malformed_file" });
});

test("a file with two measurements for one number of vCPUs is refused", async () => {
  const { out } = await run("json", ...SNP, "--vcpus", "1");
  const file = JSON.parse(out) as SnpMeasurements;
  const text = JSON.stringify({ ...file, measurements: [...file.measurements, ...file.measurements] });
  await expect(readMeasurements(put("twice.json", text))).rejects.toMatchObject({ code: "malformed_file" });
});
