import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readGuest } from "../../node-installer/guest.ts";
import { DESCRIPTION, IMAGE, type MakeOptions, REFERENCE, makeGuestImage } from "./make.ts";
import { type TestImage, type Table, copy, makeTestImage, partition, tool, writeAt } from "./test-image.ts";
import { hashTree, parseKernelVerityParams } from "./verity.ts";

const needed = ["mkfs.ext4", "debugfs", "mkfs.erofs", "fsck.erofs", "veritysetup", "sfdisk"];
const found = (name: string): boolean =>
  `${process.env["PATH"]}:/usr/sbin:/sbin`
    .split(":")
    .some((folder) => statSync(join(folder, name), { throwIfNoEntry: false }));
const missing = needed.filter((name) => !found(name));
const label = (what: string): string => (missing.length === 0 ? what : `${what}: there is no ${missing.join(", ")}`);

const folder = mkdtempSync(join(tmpdir(), "contrast-guest-image-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const CHECK = { bytes: Buffer.from("\x7fELF the check".repeat(1000), "latin1"), compiler: "rustc 1" };
let count = 0;

function make(image: string, others: Partial<MakeOptions> = {}): ReturnType<typeof makeGuestImage> {
  return makeGuestImage({
    image,
    out: join(folder, `out-${count++}`),
    check: () => Promise.resolve(CHECK),
    talk: () => {},
    ...others,
  });
}

function newImage(image: TestImage): string {
  const file = join(folder, `image-${count++}`);
  makeTestImage(file, image);
  return file;
}

/** The two partitions in files, as sfdisk finds them. */
function split(image: string): { readonly root: string; readonly hash: string } {
  const table = JSON.parse(tool("sfdisk", "--json", image)) as {
    partitiontable: { partitions: { start: number; size: number }[] };
  };
  const bytes = readFileSync(image);
  const [root = "", hash = ""] = table.partitiontable.partitions.map(({ start, size }, index) => {
    const file = `${image}.p${index + 1}`;
    writeFileSync(file, bytes.subarray(start * 512, (start + size) * 512));
    return file;
  });
  return { root, hash };
}

function verify({ root, hash }: ReturnType<typeof split>, params: string): void {
  const { rootHash, salt, dataBlocks } = parseKernelVerityParams(params);
  tool(
    "veritysetup",
    "verify",
    "--no-superblock",
    `--salt=${salt}`,
    `--data-blocks=${dataBlocks}`,
    root,
    hash,
    rootHash,
  );
}

/** A file of the root file system, by the tools of its authors. */
function fileOf(root: string, type: "ext4" | "erofs", path: string): string {
  if (type === "ext4") return tool("debugfs", "-R", `cat ${path}`, root);
  tool("fsck.erofs", `--extract=${root}.tree`, "--overwrite", root);
  return readFileSync(join(`${root}.tree`, path), "latin1");
}

test.each([
  ["without an image", ["--out", "x"], 2, "--image and --out are needed"],
  [
    "with a salt that is none",
    ["--image", "x", "--out", "x", "--salt", "00"],
    1,
    "bad_option: this is no salt (at --salt",
  ],
  [
    "with no parameters of a tree",
    ["--image", "x", "--out", "x", "--verity", "root_hash=0"],
    1,
    "bad_option: these are not",
  ],
  [
    "with no file",
    ["--image", join(folder, "nowhere"), "--out", join(folder, "x")],
    1,
    "image_unknown: the image can't be read",
  ],
])("the program %s says so", (_, args, code, said) => {
  const program = join(import.meta.dirname, "program.ts");
  const { status, stderr, stdout } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  expect(stderr).toContain(`guest-image: ${said}`);
  expect([status, stdout]).toEqual([code, ""]);
});

describe.skipIf(missing.length > 0)(label("a guest image"), () => {
  const cases = (["mbr", "dax", "gpt"] as const).flatMap((table): [Table, "ext4" | "erofs"][] => [
    [table, "ext4"],
    [table, "erofs"],
  ]);

  test.each(cases)(
    "in an image with %s and %s: veritysetup accepts the hash tree, and refuses one changed byte",
    async (table, fileSystem) => {
      const out = join(folder, `out-${count++}`);
      const { description, reference } = await make(newImage({ table, fileSystem }), { out });
      expect(await readGuest(out)).toEqual(description);
      expect(JSON.parse(readFileSync(join(out, REFERENCE), "utf8"))).toEqual(reference);
      expect(readdirSync(out).sort()).toEqual([DESCRIPTION, IMAGE, REFERENCE].sort());
      const parts = split(join(out, IMAGE));
      verify(parts, description.kernelVerityParams);
      for (const [part, at] of [
        ["root", 234_567],
        ["hash", 5000],
      ] as const) {
        const changed = copy(parts[part], `${parts[part]}.changed`);
        writeAt(changed, Buffer.of(readFileSync(changed).readUInt8(at) ^ 1), at);
        expect(() => verify({ ...parts, [part]: changed }, description.kernelVerityParams)).toThrow("veritysetup");
      }
      expect(description).toMatchObject({
        rootfsType: fileSystem,
        kernelParams: "agent.guest_components_rest_api=attestation",
      });
      expect(reference).toMatchObject({ source: { kataVersion: "4.1.0" }, check: { compiler: "rustc 1" } });
      const { dataBlocks, salt } = parseKernelVerityParams(description.kernelVerityParams);
      expect(reference.rootParameters).toBe(
        `dm-mod.create="dm-verity,,,ro,0 ${dataBlocks * 8} verity 1 /dev/vda1 /dev/vda2 4096 4096 ${dataBlocks} 0 sha256 ` +
          `${reference.rootHash} ${salt}" root=/dev/dm-0 rootflags=${fileSystem === "ext4" ? "data=ordered,errors=remount-ro ro" : "ro"} ` +
          `rootfstype=${fileSystem}`,
      );
    },
  );

  test.each(["ext4", "erofs"] as const)(
    "has the check before the agent, no policy that allows anything, and all else as it was: %s",
    async (fileSystem) => {
      const out = join(folder, `out-${count++}`);
      const source = newImage({ fileSystem });
      await make(source, { out });
      const { root } = split(join(out, IMAGE));
      if (fileSystem === "ext4") tool("e2fsck", "-fn", root);
      else tool("fsck.erofs", root);
      expect(fileOf(root, fileSystem, "/usr/lib/contrast/guest-check")).toBe(CHECK.bytes.toString("latin1"));
      expect(fileOf(root, fileSystem, "/etc/kata-opa/default-policy.rego")).not.toContain("true");
      expect(fileOf(root, fileSystem, "/usr/lib/systemd/system/kata-agent.service.d/contrast.conf")).toContain(
        "ExecStart=\nExecStart=/usr/lib/contrast/guest-check /usr/bin/kata-agent\nPrivateMounts=yes\n",
      );
      const extract = (file: string): string => {
        const tree = `${file}.all`;
        mkdirSync(tree);
        if (fileSystem === "ext4") tool("debugfs", "-R", `rdump / ${tree}`, file);
        else tool("fsck.erofs", `--extract=${tree}`, "--overwrite", file);
        return tree;
      };
      const difference = toolOutput("diff", "-rq", "--no-dereference", extract(`${source}.root`), extract(root));
      const changed = difference
        .trim()
        .split("\n")
        .map((line) => line.replaceAll(/[^ ]*\.all/g, ""));
      expect(changed.sort()).toEqual([
        "File /etc/kata-opa/default-policy.rego is a symbolic link while file /etc/kata-opa/default-policy.rego is a regular file",
        "Only in /etc/kata-opa: allow-all.rego",
        "Only in /usr/lib/systemd/system: kata-agent.service.d",
        "Only in /usr/lib: contrast",
      ]);
    },
  );

  test.each(["ext4", "erofs"] as const)(
    "is the same from the same image, in another folder and at another time: %s",
    async (fileSystem) => {
      const source = newImage({ fileSystem });
      const other = join(folder, "another folder");
      mkdirSync(other, { recursive: true });
      const first = await make(source);
      // Times in file systems have seconds.
      await new Promise((resolve) => setTimeout(resolve, 1100));
      const second = await make(copy(source, join(other, `copy-${fileSystem}`)), { out: join(other, fileSystem) });
      expect(second).toEqual(first);
      expect(await make(source, { salt: Buffer.alloc(32, 7) })).not.toEqual(first);
    },
  );

  test("of an image with another hash tree than was said is not made", async () => {
    const source = newImage({});
    const { root, hash } = split(source);
    const dataBlocks = statSync(root).size / 4096;
    const bytes = readFileSync(root);
    const blocks = async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < dataBlocks; at++) yield bytes.subarray(at * 4096, (at + 1) * 4096);
    };
    const { rootHash } = await hashTree(blocks(), Buffer.alloc(32));
    tool(
      "veritysetup",
      "verify",
      "--no-superblock",
      `--salt=${"00".repeat(32)}`,
      `--data-blocks=${dataBlocks}`,
      root,
      hash,
      rootHash,
    );
    const verity = { rootHash, salt: "00".repeat(32), dataBlocks };
    await make(source, { verity });
    writeAt(source, Buffer.from("x"), 20 * 1024 * 1024);
    await expect(make(source, { verity })).rejects.toMatchObject({ code: "verity_mismatch" });
  });

  describe("is not made, and nothing is written, of", () => {
    let good = "";
    beforeAll(() => {
      good = newImage({});
    });
    const MEBIBYTE = 1024 * 1024;
    const damage = (change: (file: string) => void): string => {
      const file = copy(good, join(folder, `damaged-${count++}`));
      change(file);
      return file;
    };

    test.each<[string, string, () => string]>([
      ["nothing", "image_unknown", () => join(folder, "nowhere")],
      [
        "an image that is cut in its file system",
        "image_cut",
        () => damage((file) => truncateSync(file, 9 * MEBIBYTE)),
      ],
      [
        "an image that is cut in its hash tree",
        "image_cut",
        () => damage((file) => truncateSync(file, 25.5 * MEBIBYTE)),
      ],
      ["an image that is cut in its table", "image_unknown", () => damage((file) => truncateSync(file, 400))],
      [
        "a GPT image that is cut",
        "image_cut",
        () => {
          const file = newImage({ table: "gpt" });
          truncateSync(file, statSync(file).size - MEBIBYTE);
          return file;
        },
      ],
      [
        "a GPT image whose table is damaged",
        "partitions_unknown",
        () => {
          const file = newImage({ table: "gpt" });
          writeAt(file, Buffer.of(9), 1024 + 40);
          return file;
        },
      ],
      ["an initrd", "image_unknown", () => damage((file) => writeAt(file, Buffer.of(0x1f, 0x8b), 0))],
      [
        "an image with one partition",
        "partitions_unknown",
        () => damage((file) => partition(file, "mbr", [MEBIBYTE, 24 * MEBIBYTE])),
      ],
      [
        "an image with three partitions",
        "partitions_unknown",
        () =>
          damage((file) =>
            partition(
              file,
              "mbr",
              [MEBIBYTE, 24 * MEBIBYTE],
              [25 * MEBIBYTE, MEBIBYTE / 2],
              [25.5 * MEBIBYTE, MEBIBYTE / 2],
            ),
          ),
      ],
      [
        "an image with partitions that overlap",
        "partitions_unknown",
        () => damage((file) => writeAt(file, Buffer.of(0, 9, 0, 0), 446 + 16 + 8)),
      ],
      [
        "an image with another file system",
        "filesystem_unknown",
        () => damage((file) => writeAt(file, Buffer.from("XFSB"), MEBIBYTE + 1080)),
      ],
      [
        "a file system that is longer than its partition",
        "image_cut",
        () => damage((file) => writeAt(file, Buffer.of(0xff), MEBIBYTE + 1024 + 6)),
      ],
      [
        "a file system that is damaged",
        "filesystem_damaged",
        () => damage((file) => writeAt(file, Buffer.alloc(4096, 0xff), MEBIBYTE + 5 * 4096)),
      ],
      [
        "an erofs that is damaged",
        "filesystem_damaged",
        () => {
          const file = newImage({ fileSystem: "erofs" });
          writeAt(file, Buffer.of(0xff, 0xff), MEBIBYTE + 1024 + 32);
          return file;
        },
      ],
      ["Kata 3.29", "kata_version_unknown", () => newImage({ kataVersion: "3.29.0" })],
      ["Kata 5", "kata_version_unknown", () => newImage({ kataVersion: "5.0.0" })],
      ["an unknown version of Kata", "kata_version_unknown", () => newImage({ kataVersion: "unknown" })],
      [
        "an image without a summary",
        "kata_version_unknown",
        () => newImage({ files: { "/var/lib/osbuilder/osbuilder.yaml": undefined } }),
      ],
      [
        "an image whose summary is no YAML",
        "guest_unknown",
        () => newImage({ files: { "/var/lib/osbuilder/osbuilder.yaml": "a: [" } }),
      ],
      ["an image without an agent", "agent_missing", () => newImage({ files: { "/usr/bin/kata-agent": undefined } })],
      [
        "an image without the agent's unit",
        "agent_missing",
        () => newImage({ files: { "/usr/lib/systemd/system/kata-agent.service": undefined } }),
      ],
      [
        "an agent for another architecture",
        "guest_unknown",
        () => newImage({ files: { "/usr/bin/kata-agent": "\x7fELF".padEnd(20, "\xb7") } }),
      ],
      [
        "an agent without policies",
        "guest_unknown",
        () => newImage({ files: { "/usr/bin/kata-agent": `\x7fELF${"\0".repeat(14)}\x3e\0` } }),
      ],
      [
        "an image with the agent as init",
        "init_unknown",
        () => newImage({ files: { "/usr/sbin/init": "-> ../bin/kata-agent" } }),
      ],
      [
        "an image with another init",
        "init_unknown",
        () => newImage({ files: { "/usr/sbin/init": "-> /bin/NVRC-x86_64" } }),
      ],
      [
        "an image with another drop-in for the agent",
        "guest_unknown",
        () => newImage({ files: { "/etc/systemd/system/kata-agent.service.d/x.conf": "" } }),
      ],
      [
        "an image that starts an attestation agent by itself",
        "guest_unknown",
        () => newImage({ files: { "/etc/systemd/system/attestation-agent.service": "" } }),
      ],
      [
        "an image that has been hardened",
        "already_hardened",
        () => newImage({ files: { "/usr/lib/contrast/guest-check": "" } }),
      ],
    ])("%s", async (_, code, image) => {
      const source = image();
      const before = readdirSync(folder);
      await expect(make(source)).rejects.toMatchObject({ code });
      expect(readdirSync(folder)).toEqual(before);
    });

    test("an image whose file system has no room", async () => {
      const check = { ...CHECK, bytes: Buffer.alloc(24 * MEBIBYTE, 1) };
      await expect(make(good, { check: () => Promise.resolve(check) })).rejects.toMatchObject({
        code: "filesystem_full",
      });
    });

    test("any image into a folder that is there", async () => {
      await expect(make(good, { out: folder })).rejects.toMatchObject({ code: "output_exists" });
    });
  });
});

function toolOutput(name: string, ...args: readonly string[]): string {
  try {
    return tool(name, ...args);
  } catch {
    return tool("sh", "-c", '"$@" || true', "sh", name, ...args);
  }
}
