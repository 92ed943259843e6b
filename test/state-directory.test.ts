import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import type { Program } from "./programs.ts";
import {
  call,
  type Client,
  createDeployment,
  type Deployment,
  readHistory,
  type SeedShare,
} from "./state-deployment.ts";

/** The Coordinator's directory: shared with a second Coordinator, on a disk that is full, on one that is read-only. */

const NO_MOUNTS = process.getuid?.() === 0 ? undefined : "mounting takes root";

let directory: string;
let deployment: Deployment;
const running: Program[] = [];
const clients: Client[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "state-directory-test-"));
  deployment = await createDeployment(directory, "127.94.1.3");
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const program of running.splice(0)) await kill(program);
});

afterAll(() => rmSync(directory, { recursive: true }));

function start(state: string): Program {
  const program = deployment.start(state);
  running.push(program);
  return program;
}

async function kill(program: Program): Promise<void> {
  program.child.kill("SIGKILL");
  await program.exited;
}

async function workloadOwner(): Promise<Client> {
  const client = await deployment.workloadOwner();
  clients.push(client);
  return client;
}

async function set(name: string): Promise<SeedShare> {
  const client = await workloadOwner();
  const answer = await call(client, UserAPI.method.setManifest, await deployment.allowed(client, name));
  return deployment.openSeedShare(answer);
}

async function recover(share: SeedShare): Promise<void> {
  const client = await deployment.seedshareOwner();
  clients.push(client);
  await call(client, UserAPI.method.recover, share);
}

async function history(): Promise<string[]> {
  return readHistory(await workloadOwner());
}

const manifests = (...names: string[]): string[] => names.map((name) => deployment.manifest(name).manifest.toString());

test("a second Coordinator is told who has the directory, and a killed one has it no longer", async () => {
  const state = join(directory, "shared");
  const first = start(state);
  await first.line("ready");
  const second = start(state);
  expect(await second.exited).toBe(1);
  expect(second.text).toEqual([]);
  expect(second.log).toEqual([expect.objectContaining({ level: "fatal" })]);
  const [line] = second.log;
  expect(line?.msg).toContain(`state_locked: another process uses the state directory (at ${state}`);
  expect(line?.msg).toContain(`process ${first.child.pid} on "${hostname()}" since 20`);
  await set("first");
  await kill(first);
  await start(state).line("ready");
});

test("a record of a later version stops the start with one line that names it", async () => {
  const state = join(directory, "later");
  const first = start(state);
  await first.line("ready");
  await kill(first);
  writeFileSync(join(state, "latest"), "contrast latest 2 of another form\n");
  const second = start(state);
  expect(await second.exited).toBe(1);
  expect(second.log.map(({ msg }) => msg)).toEqual([
    expect.stringMatching(/^unknown_state_version: .*\(at latest, got version 2, want version 1\); run the version /),
  ]);
});

if (NO_MOUNTS !== undefined) test.skip(`a full disk and a read-only disk: ${NO_MOUNTS}`);

describe.runIf(NO_MOUNTS === undefined)("on a disk of its own", () => {
  let disk: string;
  let state: string;
  let ballast: string;

  const mount = (...args: string[]): void => {
    execFileSync("mount", [...args, disk], { stdio: "pipe" });
  };
  const unmount = (): void => {
    execFileSync("umount", [disk], { stdio: "pipe" });
  };

  async function startActive(): Promise<{ program: Program; share: SeedShare }> {
    disk = mkdtempSync(join(directory, "disk-"));
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs");
    [state, ballast] = [join(disk, "state"), join(disk, "ballast")];
    const program = start(state);
    await program.line("ready");
    return { program, share: await set("first") };
  }

  function fill(): void {
    writeFileSync(ballast, "");
    const page = Buffer.alloc(4096);
    expect(() => {
      for (;;) writeFileSync(ballast, page, { flag: "a" });
    }).toThrow("ENOSPC");
  }

  /** Over the same files, so that nothing that is open for writing stands in the way. */
  function makeReadOnly(): void {
    mount("--bind", disk);
    mount("-o", "remount,bind,ro");
  }

  afterEach(async () => {
    for (const program of running.splice(0)) await kill(program);
    while (readFileSync("/proc/self/mounts", "utf8").includes(` ${disk} `)) unmount();
  });

  test("a full disk refuses a set, serves and recovers the old manifest, and goes on when there is room", async () => {
    const { program, share } = await startActive();
    fill();
    await expect(set("second")).rejects.toMatchObject({ code: "state_not_written", got: "ENOSPC" });
    expect(await history()).toEqual(manifests("first"));
    await kill(program);

    await start(state).line("ready");
    await recover(share);
    await expect(set("second")).rejects.toMatchObject({ code: "state_not_written", got: "ENOSPC" });
    expect(await history()).toEqual(manifests("first"));
    truncateSync(ballast);
    await set("third");
    expect(await history()).toEqual(manifests("first", "third"));
  });

  test("on a full disk the holder of the directory is still the only one", async () => {
    const { program } = await startActive();
    fill();
    await kill(program);
    await start(state).line("ready");
    const second = start(state);
    expect(await second.exited).toBe(1);
    expect(second.log.map(({ msg }) => msg)).toEqual([expect.stringContaining("state_locked")]);
  });

  test("a full disk without a state is one line, and exit code 1", async () => {
    await startActive();
    fill();
    const program = start(join(disk, "other"));
    expect(await program.exited).toBe(1);
    expect(program.log.map(({ msg }) => msg)).toEqual([expect.stringMatching(/^state_not_written: .*got ENOSPC/)]);
  });

  test("a disk that became read-only refuses a set, serves the old manifest, and goes on when it can be written", async () => {
    const { program, share } = await startActive();
    makeReadOnly();
    await expect(set("second")).rejects.toMatchObject({ code: "state_not_written", got: "EROFS" });
    expect(await history()).toEqual(manifests("first"));
    unmount();
    await set("third");
    await kill(program);
    await start(state).line("ready");
    await recover(share);
    expect(await history()).toEqual(manifests("first", "third"));
  });

  test("a start on a read-only disk is one line, and exit code 1", async () => {
    const { program } = await startActive();
    await kill(program);
    makeReadOnly();
    const second = start(state);
    expect(await second.exited).toBe(1);
    expect(second.text).toEqual([]);
    expect(second.log.map(({ msg }) => msg)).toEqual([expect.stringMatching(/^state_not_written: .*got EROFS/)]);
  });
});
