import { writeFile, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogger } from "../../runtime/log.ts";
import { Metrics } from "../observe/metrics.ts";
import { coordinatorLimits } from "./limits.ts";
import { listenForProbes } from "./probe-port.ts";
import { createProbes } from "./probes.ts";
import { StateGuard } from "../state/state-guard.ts";
import type { Store } from "../../store/store.ts";
import { makeState, now, recoverRequest, seedshareOwners, setRequest, type TestState } from "../test-deployment.ts";

/**
 * What the probes say of a Coordinator in every state, healthy or not. Kubernetes restarts what is not live, and a restart
 * takes the secrets: so liveness fails for nothing that a restart does not repair.
 */

const log = createLogger({ program: "test", level: "error", format: "json", isTerminal: false, colour: false });

let state: TestState;
beforeEach(async () => void (state = await makeState()));
afterEach(() => state.remove());

async function probesOf(guard: StateGuard): Promise<Record<"startup" | "liveness" | "readiness", string>> {
  const http = createProbes(guard, new Metrics(guard, now).registry, log);
  const { probes } = coordinatorLimits(2 ** 28);
  const server = await listenForProbes({ http, methods: new Map(), limits: probes, log }, 0, "127.91.0.4");
  const probe = async (name: string): Promise<string> => {
    const answer = await fetch(`http://127.91.0.4:${server.port}/probe/${name}`);
    return `${answer.status} ${(await answer.text()).trimEnd()}`;
  };
  try {
    return { startup: await probe("startup"), liveness: await probe("liveness"), readiness: await probe("readiness") };
  } finally {
    server.close();
  }
}

const LIVE = { startup: "200 ok", liveness: "200 ok" };
const ACTIVE = { ...LIVE, readiness: "200 active" };

test("live from the start to the end of a deployment: empty, active, in recovery, half recovered, active again", async () => {
  const first = await state.load();
  expect(await probesOf(first)).toEqual({ ...LIVE, readiness: "503 empty" });
  const { snapshot } = await first.set(setRequest({ seedshareOwners: seedshareOwners.slice(0, 2), threshold: 2 }));
  expect(await probesOf(first)).toEqual(ACTIVE);

  const second = await state.load();
  expect(await probesOf(second)).toEqual({ ...LIVE, readiness: "503 recovery" });
  await second.recover(recoverRequest(snapshot));
  expect(await probesOf(second)).toEqual({ ...LIVE, readiness: "503 recovery, 1 more seed share needed" });
  await second.recover(recoverRequest(snapshot, seedshareOwners[1]));
  expect(await probesOf(second)).toEqual(ACTIVE);
});

test("a state that is damaged on the disk: what is in force stays in force, and a restart would lose it", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  await writeFile(join(state.directory, "latest"), "damaged");
  await expect(guard.set(setRequest({}, guard))).rejects.toMatchObject({ code: "damaged_state" });
  await expect(guard.history()).resolves.toBeDefined();
  expect(await probesOf(guard)).toEqual(ACTIVE);
});

test("a state that can't be written", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  await rm(state.directory, { recursive: true });
  // Where there was a folder there is a file: nobody can write below it, not even root.
  await writeFile(state.directory, "");
  await expect(guard.set(setRequest({ names: ["www"] }, guard))).rejects.toMatchObject({ code: "state_not_written" });
  expect(await probesOf(guard)).toEqual(ACTIVE);
});

test("a recovery that fails, again and again", async () => {
  const { snapshot } = await (await state.load()).set(setRequest());
  const guard = await state.load();
  const request = recoverRequest(snapshot, seedshareOwners[0], { salt: Buffer.alloc(32) });
  for (let attempt = 0; attempt < 3; attempt++) await expect(guard.recover(request)).rejects.toBeDefined();
  expect(await probesOf(guard)).toEqual({ ...LIVE, readiness: "503 recovery" });
});

test("a disk that never answers", async () => {
  const never = new Promise<never>(() => {});
  const store: Store = {
    shared: false,
    get: () => never,
    put: () => never,
    list: () => never,
    remove: () => never,
    latest: async () => undefined,
    compareAndSwapLatest: () => never,
    watch: () => () => undefined,
  };
  const guard = await StateGuard.load({ store, allowInsecure: true, now, random: randomBytes });
  void guard.set(setRequest());
  expect(await probesOf(guard)).toEqual({ ...LIVE, readiness: "503 empty" });
});
