import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { run } from "../../cluster/commands.ts";
import { pushLayout } from "../../cluster/images.ts";
import { NODE, REGISTRY } from "../../cluster/layout.ts";
import { VERSION } from "../../runtime/version.ts";
import { NO_CLUSTER } from "./cluster.ts";

/**
 * Starts the cluster when the first test asks for it, unless it runs already, and puts the images of this checkout into
 * its registry, as a release. Not before: the tests of other folders run first, and would share the processors with it.
 * CONTRAST_CLUSTER_RELEASE names the folder of a release whose images are there already.
 */

declare module "vitest" {
  interface ProvidedContext {
    /** The path of a socket; whoever connects is told the folder of the release. undefined: there is no cluster. */
    readonly cluster: string | undefined;
  }
}

const root = join(import.meta.dirname, "../..");
const IMAGES = ["initializer", "mesh-proxy", "coordinator", "node-installer", "collateral-proxy", "emojivoto"];

/** What has been started, in order. */
const started: (() => Promise<void>)[] = [];

export async function setup(project: TestProject): Promise<void> {
  if (NO_CLUSTER !== undefined) {
    project.provide("cluster", undefined);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "contrast-cluster-"));
  started.push(async () => rm(folder, { recursive: true }));
  let release: Promise<string> | undefined;
  const server = createServer((_, response) => {
    release ??= start(folder);
    release.then(
      (path) => response.end(path),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  const socket = join(folder, "socket");
  server.listen(socket);
  await once(server, "listening");
  started.push(async () => void server.close());
  project.provide("cluster", socket);
}

export async function teardown(): Promise<void> {
  for (const stop of started.toReversed()) await stop();
}

/** @returns the folder of the release */
async function start(folder: string): Promise<string> {
  started.push(await startCluster());
  return process.env["CONTRAST_CLUSTER_RELEASE"] ?? makeRelease(folder);
}

/** @returns what lets it go. However this process ends, the cluster is removed: its input ends then. */
async function startCluster(): Promise<() => Promise<void>> {
  if (existsSync(`/run/netns/${NODE.namespace}`)) return async () => {};
  const holder = spawn(process.execPath, [join(root, "cluster/program.ts"), "--hold"], {
    // In a session of its own, which no interrupt of a terminal reaches.
    detached: true,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(holder, "exit");
  const isUp = new Promise<void>((resolve, reject) => {
    holder.stdout.on("data", (chunk: Buffer) => {
      process.stdout.write(chunk);
      if (/ {2}up; /.test(String(chunk))) resolve();
    });
    holder.once("exit", (code) => reject(new Error(`the cluster did not start: exit code ${code}`)));
  });
  const release = async (): Promise<void> => {
    holder.stdin.end();
    await exited;
  };
  await isUp;
  return release;
}

/** Of this machine's architecture alone: nobody here runs those of others. */
async function makeRelease(folder: string): Promise<string> {
  const [images, release] = [join(folder, "images"), join(folder, "release")];
  const npm = async (...args: readonly string[]): Promise<string> => run("npm", ["--prefix", root, "run", ...args]);
  await npm("images", "--", "--arch", process.arch === "arm64" ? "arm64" : "amd64", "--out", images);
  await npm("release", "--", "--dry-run", "--registry", `${REGISTRY}/team`, "--images", images, "--out", release);
  for (const name of IMAGES) {
    await pushLayout(join(release, "images", `${name}:${VERSION}`), `team/contrast/${name}:${VERSION}`);
  }
  return release;
}
