import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { type Account, makeAccount, programOptions } from "./kubernetes-api/accounts.ts";
import { type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";
import type { Program } from "./programs.ts";
import { call, type Client, createDeployment, type Deployment, readHistory } from "./state-deployment.ts";

/** The Coordinator as the program it is, with its history on a real etcd and kube-apiserver. */

const missing = NO_KUBERNETES_API ?? (process.getuid?.() === 0 ? undefined : "mounting a service account takes root");

if (missing !== undefined) test.skip(`a Coordinator with its history on the API of Kubernetes: ${missing}`);

describe.runIf(missing === undefined)("with its history on the API of Kubernetes", { timeout: 90_000 }, () => {
  let directory: string;
  let api: KubernetesApi;
  let deployment: Deployment;
  const running: Program[] = [];
  const clients: Client[] = [];

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "kubernetes-state-test-"));
    deployment = await createDeployment(directory, "127.41.2.2");
    api = await startKubernetesApi({ folder: join(directory, "api"), address: "127.41.2.1" });
  }, 180_000);

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const program of running.splice(0)) await kill(program);
  });

  afterAll(async () => {
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  function start(account: Account, environment: Readonly<Record<string, string>> = {}): Program {
    const { within, environment: own } = programOptions(api, account);
    const program = deployment.start(join(directory, "state"), { within, environment: { ...own, ...environment } });
    running.push(program);
    return program;
  }

  async function kill(program: Program): Promise<void> {
    program.child.kill("SIGKILL");
    await program.exited;
  }

  async function opened(client: Promise<Client>): Promise<Client> {
    clients.push(await client);
    return client;
  }

  test("it is set, killed, recovered, and set again; another name in the namespace is another deployment", async () => {
    const account = await makeAccount(api, "one");
    const first = start(account);
    await first.line("ready");
    const owner = await opened(deployment.workloadOwner());
    const answer = await call(owner, UserAPI.method.setManifest, await deployment.allowed(owner, "first"));
    await kill(first);

    const stranger = start(account, { CONTRAST_STATE_NAME: "other" });
    expect(await stranger.line("ready")).toMatchObject({ state: "empty" });
    await kill(stranger);

    const second = start(account);
    expect(await second.line("ready")).toMatchObject({ state: "recovery" });
    const recoverer = await opened(deployment.seedshareOwner());
    await call(recoverer, UserAPI.method.recover, deployment.openSeedShare(answer));
    const again = await opened(deployment.workloadOwner());
    await call(again, UserAPI.method.setManifest, await deployment.allowed(again, "second"));
    expect(await readHistory(again)).toEqual(
      ["first", "second"].map((name) => deployment.manifest(name).manifest.toString()),
    );
  });

  test("without its rights it ends with one line that says which is missing and what to apply", async () => {
    const program = start(await makeAccount(api, "no-rights", "none"));
    expect(await program.exited).toBe(1);
    const said = program.log.map(({ msg }) => msg);
    // An API server that has just started refuses, too, so it is asked again for a while.
    expect(said.slice(0, -1).every((line) => line.startsWith("waiting for the history"))).toBe(true);
    expect(said.at(-1)).toMatch(
      /^state_forbidden: .*at get configmaps\/coordinator-latest, got 403 .*kubectl apply -f coordinator\.yml/,
    );
  });

  test("an API server that is not there yet is waited for", async () => {
    const account = await makeAccount(api, "waiting");
    await api.servers[0]?.stop();
    const program = start(account);
    const waiting = await program.line("waiting for the history");
    expect(waiting).toMatchObject({ level: "warn", code: "state_unavailable" });
    await api.servers[0]?.start();
    expect(await program.line("ready")).toMatchObject({ state: "empty" });
  });
});
