import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { installKata } from "./kata-files.ts";

const HANDLER = "contrast-cc-metal-qemu-snp-0123abcd";
const FOLDER = `opt/contrast/${HANDLER}`;
const BASE = "share/defaults/kata-containers/configuration-qemu-snp.toml";

interface TestNode {
  readonly root: string;
  readonly guest: string;
  readonly install: () => ReturnType<typeof installKata>;
}

async function write(path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

async function nodeWith(image = Buffer.alloc(100_000, 1)): Promise<TestNode> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-kata-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  const [root, guest] = [join(folder, "node"), join(folder, "guest")];
  await write(join(root, "opt/kata/VERSION"), "4.1.0\n");
  await write(join(root, "opt/kata", BASE), '[hypervisor.qemu]\nkernel_params = ""\n');
  await writeGuest(guest, image);
  return {
    root,
    guest,
    install: async () => installKata(root, HANDLER, { kata: "/opt/kata", shim: "qemu-snp", guest }),
  };
}

async function writeGuest(folder: string, image: Buffer): Promise<void> {
  await write(join(folder, "guest.img"), image);
  const guest = {
    image: "guest.img",
    sha256: createHash("sha256").update(image).digest("hex"),
    rootfsType: "ext4",
    kernelParams: "",
    kernelVerityParams: "root_hash=00",
  };
  await write(join(folder, "guest.json"), JSON.stringify(guest));
}

const filesOf = async ({ root }: TestNode): Promise<string[]> =>
  (await readdir(join(root, FOLDER), { recursive: true })).toSorted();

test("puts guest image and configuration on the node, and a second time nothing", async () => {
  const node = await nodeWith();
  const tables = (await node.install())("plugin");
  const files = await filesOf(node);
  const image = files.find((file) => file.endsWith(".img")) ?? "";
  expect(files).toEqual([
    image,
    "kata",
    "kata/config.d",
    "kata/config.d/50-contrast.toml",
    "kata/configuration-qemu-snp.toml",
  ]);
  expect(tables).toContain(`ConfigPath = "/${FOLDER}/kata/configuration-qemu-snp.toml"`);
  expect(await readFile(join(node.root, FOLDER, "kata/config.d/50-contrast.toml"), "utf8")).toContain(
    `image = "/${FOLDER}/${image}"`,
  );
  await node.install();
  expect(await filesOf(node)).toEqual(files);
});

test("a new guest image takes the place of the old one, and what was left of a copy goes", async () => {
  const node = await nodeWith();
  await node.install();
  await write(join(node.root, FOLDER, "guest-00.img.part"), "half");
  await writeGuest(node.guest, Buffer.alloc(200_000, 2));
  await node.install();
  const images = (await filesOf(node)).filter((file) => file.startsWith("guest-"));
  expect(images).toHaveLength(1);
  expect(await readFile(join(node.root, FOLDER, images[0] ?? ""))).toEqual(Buffer.alloc(200_000, 2));
});

test.for([
  ["guest_damaged", async ({ guest }: TestNode) => writeFile(join(guest, "guest.img"), "another")],
  [
    "guest_damaged",
    async ({ guest }: TestNode) => writeFile(join(guest, "guest.json"), '{"image": "../../etc/shadow"}'),
  ],
  ["guest_damaged", async ({ guest }: TestNode) => writeFile(join(guest, "guest.json"), '{"image": "gue')],
  ["guest_missing", async ({ guest }: TestNode) => rm(guest, { recursive: true })],
  ["kata_missing", async ({ root }: TestNode) => rm(join(root, "opt/kata", BASE))],
  ["kata_missing", async ({ root }: TestNode) => rm(join(root, "opt/kata"), { recursive: true })],
  ["kata_version", async ({ root }: TestNode) => writeFile(join(root, "opt/kata/VERSION"), "3.12.0")],
] as const)("%s: nothing of it is on the node", async ([code, damage]) => {
  const node = await nodeWith();
  await damage(node);
  await expect(node.install()).rejects.toMatchObject({ code });
  expect(await filesOf(node).catch(() => [])).toEqual([]);
});

const NO_ROOT = process.getuid?.() === 0 ? "" : ": only root can mount";

test.skipIf(NO_ROOT !== "")(`no space on the node: the error says so, and no piece stays${NO_ROOT}`, async () => {
  const node = await nodeWith(Buffer.alloc(3_000_000, 1));
  const target = join(node.root, "opt/contrast");
  await mkdir(target, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", target]);
  try {
    await expect(node.install()).rejects.toMatchObject({ code: "unwritable_node", got: "ENOSPC" });
    expect(await filesOf(node)).toEqual([]);
  } finally {
    execFileSync("umount", [target]);
  }
});
