import { spawnSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

/** For tests: images with the layout of Kata's confidential guest image, without its gigabytes. */

export type Table = "mbr" | "dax" | "gpt";

export interface TestImage {
  readonly table?: Table;
  readonly fileSystem?: "ext4" | "erofs";
  readonly kataVersion?: string;
  /** Files that are added or replaced; undefined removes one. A text that begins with "-> " is a link. */
  readonly files?: Readonly<Record<string, string | undefined>>;
}

const MEBIBYTE = 1024 * 1024;

/** The beginning of an ELF header is all that is looked at, and what an agent has as text. */
const X86_64 = `\x7fELF${"\0".repeat(14)}\x3e\0`;
const AGENT = `${X86_64} /etc/kata-opa/default-policy.rego /run/confidential-containers/initdata /initdata.toml`;

const FILES: Readonly<Record<string, string>> = {
  "/usr/bin/kata-agent": AGENT,
  "/usr/lib/systemd/systemd": "\x7fELF",
  "/usr/sbin/init": "-> ../lib/systemd/systemd",
  "/usr/lib/systemd/system/kata-agent.service":
    "[Service]\nType=simple\nExecStart=/usr/bin/kata-agent\nFailureAction=poweroff\n",
  "/usr/lib/systemd/system/kata-containers.target": "[Unit]\nRequires=kata-agent.service\n",
  "/etc/kata-opa/allow-all.rego": "package agent_policy\n\ndefault CreateContainerRequest := true\n",
  "/etc/kata-opa/default-policy.rego": "-> allow-all.rego",
  "/etc/machine-id": "",
};

/** Writes an image to `file`. Folders are made beside it. */
export function makeTestImage(file: string, { table = "mbr", fileSystem = "ext4", ...others }: TestImage = {}): void {
  const tree = `${file}.tree`;
  const summary = `---\nagent:\n  name: "kata-agent"\n  version: "${others.kataVersion ?? "4.1.0"}"\n  agent-is-init-daemon: "no"\n`;
  const files = { ...FILES, "/var/lib/osbuilder/osbuilder.yaml": summary, ...others.files };
  mkdirSync(tree);
  for (const [path, content] of Object.entries(files)) {
    if (content === undefined) continue;
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    if (content.startsWith("-> ")) symlinkSync(content.slice(3), join(tree, path));
    else
      writeFileSync(join(tree, path), content, {
        mode: path.startsWith("/usr/bin/") ? 0o755 : 0o644,
        encoding: "latin1",
      });
  }
  // Enough names for a folder of several blocks.
  mkdirSync(join(tree, "/usr/lib/systemd/system/others"));
  for (let index = 0; index < 200; index++) {
    writeFileSync(
      join(tree, `/usr/lib/systemd/system/a-unit-with-a-long-name-of-its-own-${index}.service`),
      `${index}\n`,
    );
  }
  const root = `${file}.root`;
  if (fileSystem === "ext4") {
    writeFileSync(root, "");
    truncateSync(root, 24 * MEBIBYTE);
    tool("mkfs.ext4", "-q", "-F", "-b", "4096", "-d", tree, root);
  } else {
    tool("mkfs.erofs", "-zlz4hc", "-Enoinline_data", root, tree);
  }
  assemble(file, root, table);
}

function assemble(file: string, root: string, table: Table): void {
  const start = table === "dax" ? 3 * MEBIBYTE : MEBIBYTE;
  const rootLength = Math.ceil(statSync(root).size / MEBIBYTE) * MEBIBYTE;
  const hash = start + rootLength;
  writeFileSync(file, "");
  truncateSync(file, hash + 2 * MEBIBYTE);
  partition(file, table, [start, rootLength], [hash, MEBIBYTE]);
  // The second table, which only NVDIMM drivers read.
  if (table === "dax") writeAt(file, readFileSync(file).subarray(0, 512), 2 * MEBIBYTE);
  writeAt(file, readFileSync(root), start);
  const tree = `${file}.hash`;
  tool("veritysetup", "format", "--no-superblock", "--salt", "00".repeat(32), root, tree);
  writeAt(file, readFileSync(tree), hash);
}

/** @param partitions starts and lengths in bytes */
export function partition(file: string, table: Table, ...partitions: readonly (readonly [number, number])[]): void {
  const lines = partitions.map(([start, length]) => `start=${start / 512}, size=${length / 512}, type=linux`);
  const input = [`label: ${table === "gpt" ? "gpt" : "dos"}`, ...lines, ""].join("\n");
  const { status, stderr } = spawnSync("sfdisk", ["--quiet", file], { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`sfdisk: ${stderr}`);
}

export function writeAt(file: string, bytes: Uint8Array, offset: number): void {
  const descriptor = openSync(file, "r+");
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

export function copy(from: string, to: string): string {
  cpSync(from, to);
  return to;
}

/** @returns what it printed. @throws Error where it fails */
export function tool(name: string, ...args: readonly string[]): string {
  const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8", env });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name}: ${stderr}`);
  return stdout;
}
