import { cp, lstat, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Architecture } from "./architecture.ts";
import { run, type RunOptions } from "./run.ts";

/**
 * Parts of Debian 12 as they come out of its packages, without running anything of them: libraries, the named programs,
 * licences. No shell, no package manager. Scanners find what is there in var/lib/dpkg/status.d, as in distroless images.
 */

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
}

const RELEASE = "bookworm";

/** Writes down what each package says of itself, while mmdebstrap still has the packages. */
const RECORD = `mkdir -p "$1/var/lib/dpkg/status.d"
for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb -f "$deb" >"$1/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
done`;

/** Unpacks packages and all that they depend on. @throws ImageError */
export async function unpackDebian(
  packages: readonly string[],
  { debian }: Architecture,
  directory: string,
  options: RunOptions,
): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(dirname(directory), { recursive: true });
  await run(
    "mmdebstrap",
    [
      "--quiet",
      "--variant=extract",
      `--architectures=${debian}`,
      `--extract-hook=${RECORD}`,
      `--include=${packages.join(",")}`,
      RELEASE,
      directory,
    ],
    options,
  );
  // Its links lead to the descriptors of whoever follows them, and readdir does.
  await rm(join(directory, "dev"), { recursive: true });
}

/** What of it a container needs to run a program, and what its licences demand. */
const KEPT = [
  /^lib(64)?\//,
  /^usr\/lib\/[^/]+-linux-gnu\/(?!gconv\/|audit\/|perl)/,
  /^(usr\/lib|etc)\/os-release$/,
  /^etc\/ld\.so\.conf\.d\//,
  /^bin\/busybox$/,
  /^sbin\/(cryptsetup|dmsetup|mke2fs|mkfs\.ext4)$/,
  /^etc\/mke2fs\.conf$/,
  /^usr\/sbin\/(iptables|ip6tables|xtables)-(nft|legacy)/,
  /^usr\/share\/doc\/[^/]+\/copyright$/,
  /^usr\/share\/common-licenses\//,
  /^var\/lib\/dpkg\/status\.d\//,
];

/**
 * Copies what is kept of `from`, but nothing that `without` has.
 *
 * @returns the packages that the copied files belong to
 */
export async function copyKept(from: string, to: string, without?: string): Promise<DebianPackage[]> {
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = relative(from, join(entry.parentPath, entry.name));
    if (!KEPT.some((kept) => kept.test(path))) continue;
    if (entry.isDirectory() || (without !== undefined && (await exists(join(without, path))))) continue;
    await mkdir(dirname(join(to, path)), { recursive: true });
    await cp(join(from, path), join(to, path), { verbatimSymlinks: true });
  }
  const status = join(to, "var/lib/dpkg/status.d");
  const names = await readdir(status).catch(() => []);
  return Promise.all(
    names.map(async (name) => {
      const fields = await readFile(join(status, name), "utf8");
      return { name, version: /^Version: (.*)$/m.exec(fields)?.[1] ?? "" };
    }),
  );
}

/** The users of the image, and where names are looked up: files first, as everywhere. */
export async function writeAccounts(directory: string): Promise<void> {
  const files = {
    "etc/passwd": "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
  };
  await mkdir(join(directory, "etc"), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(join(directory, path), text);
}

/** A link counts, wherever it leads. */
export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
