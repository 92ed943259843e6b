import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toUtf8 } from "../../bytes/encode.ts";
import { encodeInitdata } from "../../manifest/initdata.ts";
import { buildCheck, cargo } from "./check-program.ts";
import { IMAGE, makeGuestImage } from "./make.ts";
import { makeTestImage } from "./test-image.ts";
import { lacksForVms, runVm, type VmOptions, writeInitramfs } from "./test-vm.ts";

const lacks = lacksForVms();
const label = (what: string): string => (lacks === undefined ? what : `${what}: ${lacks}`);

const folder = mkdtempSync(join(tmpdir(), "contrast-guest-check-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const cache = join(import.meta.dirname, "../../node_modules/.cache/guest-check");
const initramfs = join(folder, "initramfs");

const DOCUMENT = encodeInitdata("package agent_policy\n\ndefault CreateContainerRequest := false\n");
const EVIL = encodeInitdata("package agent_policy\n\ndefault CreateContainerRequest := true\n");

const digest = (document: Uint8Array): string => createHash("sha256").update(document).digest("hex");

/** A disk as Kata's runtimes write it. */
function disk(document: Uint8Array): string {
  const gzip = gzipSync(document);
  const header = Buffer.from("initdata________");
  header.writeBigUInt64LE(BigInt(gzip.length), 8);
  const contents = Buffer.concat([header, gzip]);
  const file = join(folder, `disk-${count++}`);
  writeFileSync(file, Buffer.concat([contents, Buffer.alloc((1 << 20) - contents.length)]));
  return file;
}
let count = 0;

/** @param parameters replace those of a VM that was launched with DOCUMENT */
function run(
  disks: readonly string[],
  parameters: Readonly<Record<string, string>> = {},
  others: Partial<VmOptions> = {},
): Promise<string> {
  const all = { report: "snp", host_data: digest(DOCUMENT), ...parameters };
  const words = Object.entries(all).map(([name, value]) => `${name}=${value}`);
  return runVm({ initramfs, disks, parameters: words, folder, ...others });
}

describe.skipIf(lacks !== undefined)(
  label("the check, in a VM with a fake report device"),
  { timeout: 120_000 },
  () => {
    let check: Awaited<ReturnType<typeof buildCheck>>;

    beforeAll(async () => {
      check = await buildCheck(cache);
      await cargo(["build", "--example", "report-device"], cache);
      const guest = (name: string): Buffer => readFileSync(join(import.meta.dirname, "test-guest", name));
      writeInitramfs(initramfs, {
        init: guest("init"),
        agent: guest("agent"),
        "bin/guest-check": check.bytes,
        "bin/report-device": readFileSync(join(cache, "x86_64-unknown-linux-gnu/debug/examples/report-device")),
      });
    }, 300_000);

    test("lets the agent start with the copy alone, and gives it the disks when it has read that", async () => {
      const console = await run([disk(DOCUMENT)]);
      expect(console).toContain(`contrast-guest-check: the initdata is ${digest(DOCUMENT)}, as the CPU says`);
      expect(console).toContain("AGENT reads /dev/vd-contrast");
      expect(console).toContain(`AGENT uses ${digest(DOCUMENT)}`);
      expect(console).toMatch(/^AGENT sees \/dev\/vda$/m);
      expect(console).toMatch(/^OTHERS see \/dev\/vda$/m);
    });

    const bomb = Buffer.alloc(40 << 20, "#");
    const sha384 = Buffer.from(toUtf8(DOCUMENT).replace("sha256", "sha384"));

    test.each<[string, string, () => string[], Record<string, string>]>([
      ["without a device", "no_initdata", () => [], {}],
      ["with two devices of the same contents", "two_initdata", () => [disk(DOCUMENT), disk(DOCUMENT)], {}],
      [
        "with one changed byte",
        "other_initdata",
        () => [disk(Buffer.concat([DOCUMENT.subarray(0, -1), Buffer.from(" ")]))],
        {},
      ],
      ["with another policy", "other_initdata", () => [disk(EVIL)], {}],
      [
        "with another algorithm, whose digest is in HOST_DATA",
        "initdata_algorithm",
        () => [disk(sha384)],
        { host_data: digest(sha384) },
      ],
      ["with a bomb", "initdata_size", () => [disk(bomb)], { host_data: digest(bomb) }],
      ["without a TEE", "no_report", () => [disk(DOCUMENT)], { report: "none" }],
      ["with a TEE that answers with an error", "no_report", () => [disk(DOCUMENT)], { report: "silent" }],
      ["with a report for somebody else", "report_form", () => [disk(DOCUMENT)], { report: "stale" }],
      [
        "in the first mount namespace, where it could hide nothing",
        "handover",
        () => [disk(DOCUMENT)],
        { namespace: "first" },
      ],
    ])("powers off %s: %s", async (_, code, disks, parameters) => {
      const console = await run(disks(), parameters);
      expect(console).toMatch(new RegExp(`contrast-guest-check: ${code}: .*; the VM is powered off`));
      expect(console).not.toContain("AGENT");
    });

    test("powers off when the agent has other initdata all the same", async () => {
      const console = await run([disk(DOCUMENT)], { agent: "other" });
      expect(console).toContain("contrast-guest-check: agent_initdata: the agent has other initdata than was verified");
      expect(console).not.toContain("AGENT sees");
    });

    /** As soon as the agent starts, the host writes to the disk and plugs in another. */
    const attack = (parameters: Readonly<Record<string, string>>): Promise<string> => {
      const file = disk(DOCUMENT);
      const onLine: VmOptions["onLine"] = (line, host) => {
        if (!line.includes("AGENT started")) return;
        writeFileSync(file, readFileSync(disk(EVIL)));
        host.plugIn();
      };
      return run([file], { agent: "slow", ...parameters }, { spare: disk(EVIL), onLine });
    };

    test("a host that changes the disk afterwards, and plugs in another, changes nothing", async () => {
      const console = await attack({});
      expect(console).toContain("AGENT could have vda vdb");
      expect(console).toContain(`AGENT uses ${digest(DOCUMENT)}`);
      expect(console).toContain("AGENT sees /dev/vda /dev/vdb");
    });

    test("without the check, that host chooses the policy", async () => {
      const console = await attack({ check: "no" });
      expect(console).toContain(`AGENT uses ${digest(EVIL)}`);
    });

    test.each(["ext4", "erofs"] as const)(
      "stands in a hardened image that the kernel mounts: %s",
      async (fileSystem) => {
        const image = join(folder, `image-${fileSystem}`);
        makeTestImage(image, { fileSystem });
        const out = join(folder, `out-${fileSystem}`);
        await makeGuestImage({ image, out, check: () => Promise.resolve(check), talk: () => {} });
        const console = await run([join(out, IMAGE)], { look: "image" });
        expect(console).toContain(`IMAGE ${digest(check.bytes)}`);
        expect(console).toContain("IMAGE 1 204");
      },
    );
  },
);
