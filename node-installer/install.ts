import { rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "../runtime/log.ts";
import { makeDirectory, replaceFile, syncDirectory } from "../runtime/files.ts";
import type { HandlerTables } from "./containerd-config.ts";
import { type ContainerdPlace, handlerAdded, handlerRemoved, type NodeFile, readText } from "./containerd-place.ts";
import type { LoadedRuntimes } from "./cri.ts";
import { NodeError } from "./error.ts";

/**
 * Gives containerd a handler, and takes it away. At any moment the node has the old configuration or the new one, and what
 * was interrupted is done again by the next run. Other installers may change the same file at the same time.
 */

export interface Node {
  /** Where its file system is. */
  readonly root: string;
  readonly place: ContainerdPlace;
  readonly restart: () => Promise<void>;
  /** What containerd has loaded. @throws while it does not answer */
  readonly runtimes: () => Promise<LoadedRuntimes>;
  readonly sleep: (ms: number) => Promise<void>;
  readonly log: Logger;
}

/** Our files on a node, a folder for each handler. */
export function folderOf(handler: string): string {
  return `/opt/contrast/${handler}`;
}

/** containerd was told something that it may not have read: there from before a change until after the restart. */
function markOf(handler: string): string {
  return join(folderOf(handler), "restart-pending");
}

/**
 * Where another installer overwrote the file at the same moment, it is written again.
 *
 * @throws NodeError; the configuration is then without the handler
 */
export async function installHandler(node: Node, handler: string, tables: HandlerTables): Promise<void> {
  await makeDirectory(join(node.root, folderOf(handler)), 0o755);
  for (let tries = 0; tries < 3; tries++) {
    const file = await handlerAdded(node.root, node.place, handler, tables);
    const isNew = (await readText(node.root, file.path)) !== file.text;
    const isPending = (await readText(node.root, markOf(handler))) !== undefined;
    const isLoaded = Object.hasOwn((await node.runtimes()).handlers, handler);
    if (!isNew && !isPending && isLoaded) return;
    await change(node, handler, file);
    if (await isAnswered(node, ({ handlers }) => Object.hasOwn(handlers, handler))) return;
    if ((await readText(node.root, file.path)) === file.text) break;
  }
  await removeHandler(node, handler);
  throw new NodeError("containerd_refused", "containerd does not have the new handler after its restart", {
    where: node.place.config,
    got: "its old configuration, which is in place again",
    want: `the handler ${handler}`,
    hint: "see the log of containerd; another file that it imports may replace the handlers of this one",
  });
}

/** @throws NodeError containerd_refused where containerd does not answer afterwards */
export async function removeHandler(node: Node, handler: string): Promise<void> {
  const file = await handlerRemoved(node.root, node.place, handler);
  const isThere = file !== undefined && (await readText(node.root, file.path)) !== file.text;
  if (!isThere) return;
  await change(node, handler, file);
  if (await isAnswered(node, ({ handlers }) => !Object.hasOwn(handlers, handler))) return;
  throw new NodeError("containerd_refused", "containerd does not answer without the handler", {
    where: node.place.config,
    hint: "see the log of containerd on this node",
  });
}

/** Removes everything of a handler but what containerd knows. */
export async function removeFiles({ root }: Pick<Node, "root">, handler: string): Promise<void> {
  await rm(join(root, folderOf(handler)), { recursive: true, force: true });
}

async function change({ root, restart, log }: Node, handler: string, file: NodeFile): Promise<void> {
  const mark = join(root, markOf(handler));
  await write(root, { path: markOf(handler), text: "" });
  await write(root, file);
  log.info({ file: file.path, handler }, "configuration of containerd changed; restarting it");
  await restart();
  await rm(mark, { force: true });
}

/** Writes a file of the node as a whole, or removes it. @throws NodeError unwritable_node */
export async function write(root: string, { path, text }: NodeFile): Promise<void> {
  const target = join(root, path);
  try {
    if (text === undefined) {
      await rm(target, { force: true });
      await syncDirectory(dirname(target));
      return;
    }
    await makeDirectory(dirname(target), 0o755);
    const mode = await stat(target).then(
      (found) => found.mode & 0o777,
      () => 0o644,
    );
    await replaceFile(target, text, mode);
  } catch (error) {
    throw unwritable(path, error);
  }
}

export function unwritable(path: string, error: unknown): NodeError {
  return new NodeError("unwritable_node", "a file of the node could not be written", {
    where: path,
    got: (error as NodeJS.ErrnoException).code ?? String(error),
    want: "room, and a file system that can be written to",
    cause: error,
  });
}

/** K3s takes half a minute to come back. */
const RESTART_MS = 90_000;
const STEP_MS = 500;

async function isAnswered({ runtimes, sleep }: Node, isRight: (loaded: LoadedRuntimes) => boolean): Promise<boolean> {
  let isUp = false;
  for (let waited = 0; waited < RESTART_MS; waited += STEP_MS) {
    await sleep(STEP_MS);
    const loaded = await runtimes().catch(() => undefined);
    if (loaded !== undefined && isRight(loaded)) return true;
    // It was asked after the restart, and it is not going to change its mind; the first answer may be the old process's.
    if (loaded !== undefined && isUp && waited > SETTLE_MS) return false;
    isUp = loaded !== undefined;
  }
  return false;
}

const SETTLE_MS = 15_000;
