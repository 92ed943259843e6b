import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parse } from "smol-toml";
import { expect, onTestFinished, test } from "vitest";
import type { Logger } from "../runtime/log.ts";
import { findContainerd } from "./containerd-place.ts";
import { runcHandler } from "./handler.ts";
import { installHandler, type Node, removeFiles, removeHandler } from "./install.ts";

/**
 * Installing and removing on a folder that stands for a node, with a containerd that reads its configuration when it is
 * restarted, and at any moment an end. test/cluster/node-installer.test.ts has a real one.
 */

const HANDLER = "contrast-cc-simulated-0123abcd";
const TABLES = runcHandler(HANDLER, { SystemdCgroup: true });
const CONFIG = "/etc/containerd/config.toml";
const OLD = `version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n`;

interface TestNode extends Node {
  readonly restarts: () => number;
  readonly config: () => Promise<string | undefined>;
  readonly loaded: () => Promise<readonly string[]>;
}

interface Behaviour {
  readonly config?: string;
  /** Thrown by a restart, by its number from 0. */
  readonly failing?: (restart: number) => Error | undefined;
  /** What containerd makes of its configuration; undefined: it does not start. */
  readonly load?: (text: string) => readonly string[] | undefined;
}

function handlersIn(text: string): readonly string[] {
  const { plugins } = parse(text) as { plugins?: Record<string, { containerd?: { runtimes?: object } }> };
  return Object.keys(plugins?.["io.containerd.grpc.v1.cri"]?.containerd?.runtimes ?? {});
}

async function nodeWith({ config = OLD, failing, load = handlersIn }: Behaviour = {}): Promise<TestNode> {
  const root = await mkdtemp(join(tmpdir(), "contrast-node-"));
  onTestFinished(async () => rm(root, { recursive: true }));
  const path = join(root, CONFIG);
  await mkdir(dirname(path), { recursive: true });
  if (config !== "") await writeFile(path, config, { mode: 0o640 });
  const text = async (): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);
  let count = 0;
  let running: readonly string[] | undefined = load((await text()) ?? "");
  const runtimes = async (): ReturnType<Node["runtimes"]> => {
    if (running === undefined) throw new Error("connection refused");
    return { handlers: Object.fromEntries(running.map((name) => [name, {}])) };
  };
  return {
    root,
    place: findContainerd(root, {}),
    async restart() {
      const number = count++;
      const error = failing?.(number);
      if (error !== undefined) throw error;
      running = load((await text()) ?? "");
    },
    runtimes,
    sleep: async () => {},
    log: { info() {}, warn() {}, error() {} } as unknown as Logger,
    restarts: () => count,
    config: text,
    loaded: async () => Object.keys((await runtimes()).handlers),
  };
}

test("installs once, restarts containerd once, and leaves nothing behind", async () => {
  const node = await nodeWith();
  await installHandler(node, HANDLER, TABLES);
  await installHandler(node, HANDLER, TABLES);
  expect(node.restarts()).toBe(1);
  expect(await node.loaded()).toEqual(["runc", HANDLER]);
  await removeHandler(node, HANDLER);
  await removeFiles(node, HANDLER);
  await removeHandler(node, HANDLER);
  expect(node.restarts()).toBe(2);
  expect(await node.config()).toBe(OLD);
  expect(await node.loaded()).toEqual(["runc"]);
  await expect(readFile(join(node.root, "opt/contrast", HANDLER))).rejects.toThrow("ENOENT");
});

test("a node without a configuration gets one, and has none again", async () => {
  const node = await nodeWith({ config: "" });
  await installHandler(node, HANDLER, TABLES);
  expect(await node.loaded()).toEqual([HANDLER]);
  await removeHandler(node, HANDLER);
  expect(await node.config()).toBeUndefined();
});

test("what ended before the restart is restarted by the next run", async () => {
  const node = await nodeWith({ failing: (restart) => (restart === 0 ? new Error("killed") : undefined) });
  await expect(installHandler(node, HANDLER, TABLES)).rejects.toThrow("killed");
  expect(await node.loaded()).toEqual(["runc"]);
  await installHandler(node, HANDLER, TABLES);
  expect(await node.loaded()).toEqual(["runc", HANDLER]);
  expect(node.restarts()).toBe(2);

  const changed = runcHandler(HANDLER, { SystemdCgroup: false });
  const other = await nodeWith({ failing: (restart) => (restart === 1 ? new Error("killed") : undefined) });
  await installHandler(other, HANDLER, TABLES);
  await expect(installHandler(other, HANDLER, changed)).rejects.toThrow("killed");
  await installHandler(other, HANDLER, changed);
  // The handler was there all the time, but with its old options.
  expect(other.restarts()).toBe(3);
});

test.for([
  ["does not start with the handler", (text: string) => (text.includes(HANDLER) ? undefined : handlersIn(text))],
  ["ignores the handler", (text: string) => handlersIn(text).filter((name) => name !== HANDLER)],
] as const)("a containerd that %s has its old configuration again", async ([, load]) => {
  const node = await nodeWith({ load });
  await expect(installHandler(node, HANDLER, TABLES)).rejects.toMatchObject({ code: "containerd_refused" });
  expect(await node.config()).toBe(OLD);
  expect(await node.loaded()).toEqual(["runc"]);
});

test("two installers at the same time both have their handler in the end", async () => {
  const node = await nodeWith();
  const names = [HANDLER, "contrast-cc-simulated-ffffffff"];
  await Promise.all(names.map(async (name) => installHandler(node, name, runcHandler(name, {}))));
  // Each of them looks again after a while.
  for (const name of names) await installHandler(node, name, runcHandler(name, {}));
  expect(new Set(await node.loaded())).toEqual(new Set(["runc", ...names]));
});

test("K3s gets a file of its own in the folder that its configuration imports", async () => {
  const node = await nodeWith();
  const folder = "/var/lib/rancher/k3s/agent/etc/containerd";
  await mkdir(join(node.root, folder), { recursive: true });
  const rendered = `version = 3\nimports = ["${folder}/config-v3.toml.d/*.toml"]\n`;
  await writeFile(join(node.root, folder, "config.toml"), rendered);
  const place = findContainerd(node.root, {});
  expect(place).toMatchObject({ socket: "/run/k3s/containerd/containerd.sock", units: ["k3s", "k3s-agent"] });
  const file = join(node.root, folder, "config-v3.toml.d", `${HANDLER}.toml`);
  const k3s: Node = {
    ...node,
    place,
    runtimes: async () => {
      const text = await readFile(file, "utf8").catch(() => "");
      return { handlers: text.includes(HANDLER) ? { [HANDLER]: {} } : {} };
    },
  };
  await installHandler(k3s, HANDLER, TABLES);
  expect(await readFile(file, "utf8")).toContain(`io.containerd.cri.v1.runtime".containerd.runtimes.${HANDLER}]`);
  await removeHandler(k3s, HANDLER);
  await expect(readFile(file)).rejects.toThrow("ENOENT");
  expect(await readFile(join(node.root, folder, "config.toml"), "utf8")).toBe(rendered);
  expect(await node.config()).toBe(OLD);

  await writeFile(join(node.root, folder, "config.toml"), "version = 3\n");
  await expect(installHandler(k3s, HANDLER, TABLES)).rejects.toMatchObject({ code: "containerd_config" });
});

test("a configuration that can't be written stays as it is, and the error names it", async () => {
  const node = await nodeWith();
  await writeFile(join(node.root, "opt"), "no folder");
  await expect(installHandler(node, HANDLER, TABLES)).rejects.toMatchObject({ code: "ENOTDIR" });
  expect(await node.config()).toBe(OLD);
});
