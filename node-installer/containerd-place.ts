import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  dropIn,
  EMPTY_CONFIG,
  type HandlerTables,
  versionOf,
  withHandler,
  withoutHandler,
} from "./containerd-config.ts";
import { NodeError } from "./error.ts";

/** Where containerd's configuration is on a node, who restarts it, and where it listens. Paths are those of the node. */
export interface ContainerdPlace {
  readonly config: string;
  /** K3s and RKE2 write the configuration anew at each start; it imports this folder. */
  readonly dropIns?: string;
  readonly socket: string;
  /** Units of systemd, of which the one that runs is restarted. */
  readonly units: readonly string[];
}

const PLAIN: ContainerdPlace = {
  config: "/etc/containerd/config.toml",
  socket: "/run/containerd/containerd.sock",
  units: ["containerd"],
};

/** https://docs.k3s.io/advanced#configuring-containerd; RKE2 has the same below another folder. */
const RANCHER = ["k3s", "rke2"].map((name): ContainerdPlace => ({
  config: `/var/lib/rancher/${name}/agent/etc/containerd/config.toml`,
  socket: "/run/k3s/containerd/containerd.sock",
  units: name === "k3s" ? ["k3s", "k3s-agent"] : ["rke2-server", "rke2-agent"],
}));

/**
 * @param root the node's file system
 * @param given what the operator says instead
 */
export function findContainerd(
  root: string,
  given: { readonly config?: string | undefined; readonly socket?: string | undefined },
): ContainerdPlace {
  const found = RANCHER.find(({ config }) => existsSync(join(root, config))) ?? PLAIN;
  return {
    ...found,
    ...(given.config !== undefined && { config: given.config }),
    ...(given.socket !== undefined && { socket: given.socket }),
  };
}

/** A file of the node as it is to be; undefined: it is not to be there. */
export interface NodeFile {
  readonly path: string;
  readonly text: string | undefined;
}

/**
 * The configuration with the handler in it.
 *
 * @returns the file that changes
 * @throws NodeError containerd_config
 */
export async function handlerAdded(
  root: string,
  { config, units }: ContainerdPlace,
  handler: string,
  tables: HandlerTables,
): Promise<NodeFile> {
  const text = await readText(root, config);
  if (units === PLAIN.units || text === undefined) {
    return { path: config, text: withHandler(text ?? EMPTY_CONFIG, handler, tables, config) };
  }
  const folder = importedFolder(text);
  if (folder === undefined) {
    throw new NodeError("containerd_config", "this K3s or RKE2 imports no folder of configuration files", {
      where: config,
      got: "no import of config.toml.d or config-v3.toml.d",
      want: "K3s or RKE2 of 2025 or later, or a template with such an import",
    });
  }
  return { path: join(folder, `${handler}.toml`), text: dropIn(versionOf(text, config), tables) };
}

/** The configuration without it. */
export async function handlerRemoved(
  root: string,
  { config, units }: ContainerdPlace,
  handler: string,
): Promise<NodeFile | undefined> {
  const text = await readText(root, config);
  if (text === undefined) return undefined;
  if (units === PLAIN.units) {
    const without = withoutHandler(text, handler);
    return { path: config, text: without === EMPTY_CONFIG ? undefined : without };
  }
  const folder = importedFolder(text);
  return folder === undefined ? undefined : { path: join(folder, `${handler}.toml`), text: undefined };
}

/** The folder of K3s or RKE2 that their configuration imports. */
function importedFolder(text: string): string | undefined {
  return /"([^"]*\/config(?:-v3)?\.toml\.d)\/\*\.toml"/.exec(text)?.[1];
}

/** @returns undefined where there is no such file */
export async function readText(root: string, path: string): Promise<string | undefined> {
  try {
    return await readFile(join(root, path), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
