import { readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeDirectory, syncDirectory } from "../runtime/files.ts";
import type { HandlerTables } from "./containerd-config.ts";
import { readText } from "./containerd-place.ts";
import { NodeError } from "./error.ts";
import { copyGuest, readGuest } from "./guest.ts";
import { kataHandler } from "./handler.ts";
import { folderOf, unwritable, write } from "./install.ts";
import { kataDropIn, kataShim, requireKataVersion } from "./kata.ts";

/** Where things are that a handler of Kata's needs. */
export interface KataSources {
  /** kata-deploy's folder on the node. */
  readonly kata: string;
  /** As kata-deploy names it. */
  readonly shim: string;
  /** The folder with the guest image, of this container. */
  readonly guest: string;
}

/**
 * Puts guest image and Kata's configuration on the node, each as a whole, and old guest images away.
 *
 * @param root the node's file system
 * @returns what containerd is to be told
 * @throws NodeError
 */
export async function installKata(
  root: string,
  handler: string,
  { kata, shim: name, guest: source }: KataSources,
): Promise<HandlerTables> {
  const shim = kataShim(name);
  const base = join(kata, shim.configuration);
  requireKataVersion(await required(root, join(kata, "VERSION")), join(kata, "VERSION"));
  const text = await required(root, base);
  const guest = await readGuest(source);

  const folder = folderOf(handler);
  const image = join(folder, `guest-${guest.sha256.slice(0, 16)}.img`);
  const dropIn = kataDropIn(text, base, shim, guest, image);
  await putGuest(root, image, async (target) => copyGuest(source, guest, target));
  const configuration = join(folder, "kata", `configuration-${name}.toml`);
  await write(root, { path: configuration, text });
  await write(root, { path: join(dirname(configuration), "config.d", "50-contrast.toml"), text: dropIn });
  // Virtual machines that run have the old image open.
  for (const file of await readdir(join(root, folder))) {
    if (/^guest-.*\.img$/.test(file) && join(folder, file) !== image) await rm(join(root, folder, file));
  }
  return kataHandler(handler, join(kata, shim.binary), configuration);
}

/** Its name has its digest, and it gets the name when it is complete. */
async function putGuest(root: string, image: string, copy: (target: string) => Promise<void>): Promise<void> {
  const target = join(root, image);
  const folder = dirname(target);
  try {
    await makeDirectory(folder, 0o755);
    const files = await readdir(folder);
    for (const file of files.filter((file) => file.endsWith(".part"))) await rm(join(folder, file));
    if (files.some((file) => join(folder, file) === target)) return;
    await copy(`${target}.part`);
    await rename(`${target}.part`, target);
    await syncDirectory(folder);
  } catch (error) {
    await rm(`${target}.part`, { force: true });
    throw error instanceof NodeError ? error : unwritable(image, error);
  }
}

async function required(root: string, path: string): Promise<string> {
  const text = await readText(root, path);
  if (text !== undefined) return text;
  throw new NodeError("kata_missing", "a file of kata-deploy is missing on this node", {
    where: path,
    want: "kata-deploy with this shim, which has to be there first",
  });
}
