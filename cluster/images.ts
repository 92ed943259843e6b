import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { onNode, run } from "./commands.ts";
import { type Layout, REGISTRY } from "./layout.ts";

/** Puts images into the registry of the node. */

export async function pushPause(layout: Layout): Promise<void> {
  if (await hasImage("pause", "1")) return;
  const { buildah, container } = await scratch(layout);
  await buildah("copy", "-q", container, join(layout.bin, "pause"), "/pause");
  await buildah("config", "--entrypoint", '["/pause"]', container);
  await commit(buildah, container, "pause:1");
}

/** A dynamically linked program of this machine as an image, with the libraries that it needs. */
export async function pushProgram(layout: Layout, program: string, name: string): Promise<void> {
  const libraries = Array.from((await run("ldd", [program])).matchAll(/(\/\S+) \(0x/g), ([, path = ""]) => path);
  const { buildah, container } = await scratch(layout);
  for (const file of [program, ...libraries]) await buildah("copy", "-q", container, await realpath(file), file);
  await buildah("config", "--entrypoint", JSON.stringify([program]), container);
  await commit(buildah, container, name);
}

/** @param layoutFolder of OCI, with one image for each architecture */
export async function pushLayout(layoutFolder: string, name: string): Promise<void> {
  const copy = ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false"];
  await onNode(...copy, `oci:${layoutFolder}`, `docker://${REGISTRY}/${name}`);
}

type Buildah = (...args: readonly string[]) => Promise<string>;

/** On the node, where the registry is. */
export function buildahOf(layout: Layout): Buildah {
  const folders = [`--root=${join(layout.state, "buildah")}`, `--runroot=${join(layout.run, "buildah")}`];
  return async (...args) => onNode("buildah", ...folders, "--storage-driver=vfs", ...args);
}

async function scratch(layout: Layout): Promise<{ buildah: Buildah; container: string }> {
  const buildah = buildahOf(layout);
  return { buildah, container: (await buildah("from", "scratch")).trim() };
}

async function commit(buildah: Buildah, container: string, name: string): Promise<void> {
  await buildah("commit", "-q", "--rm", container, name);
  await buildah("push", "-q", "--tls-verify=false", name, `docker://${REGISTRY}/${name}`);
}

async function hasImage(name: string, tag: string): Promise<boolean> {
  try {
    await onNode("curl", "-sf", "-o", "/dev/null", `${REGISTRY}/v2/${name}/manifests/${tag}`);
    return true;
  } catch {
    return false;
  }
}
