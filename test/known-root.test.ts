import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCliDeployment } from "./cli-deployment.ts";

/** What the CLI says when the deployment behind an address is not the one that its workspace knows. */

const deployment = createCliDeployment("127.97.0.1");
const { contrast, file, startCoordinator, stop } = deployment;

beforeAll(async () => {
  expect((await deployment.generate()).code).toBe(0);
});
afterAll(deployment.remove);

test("set warns of manifests that the workspace has not seen, until verify has shown them", async () => {
  const coordinator = await startCoordinator("unseen");
  expect((await contrast("set")).stderr).not.toContain("warning");
  // As another owner's workspace would be.
  for (const name of ["coordinator-root-ca.pem", "seed-shares.json"]) rmSync(file(name));
  const warning = "warning: the Coordinator has had 1 manifest that this workspace has not seen";
  expect(await contrast("set")).toMatchObject({ code: 0, stderr: expect.stringContaining(warning) });
  rmSync(file("coordinator-root-ca.pem"));
  expect((await contrast("verify")).code).toBe(0);
  expect((await contrast("set")).stderr).not.toContain("warning");
  await stop(coordinator);
});

test("a state that was taken away is a warning to set, and nothing that verify passes over", async () => {
  const coordinator = await startCoordinator("taken-away");
  expect((await contrast("set")).stderr).toContain("so all secrets are new");
  const own = deployment.read("coordinator-root-ca.pem");
  await stop(coordinator);

  // Meanwhile the host has made a genuine Coordinator enforce the very same manifest, with secrets of its own time.
  const another = await startCoordinator("made-anew");
  expect((await contrast("set")).code).toBe(0);
  writeFileSync(file("coordinator-root-ca.pem"), own);
  expect(await contrast("verify")).toMatchObject({ code: 3, stderr: expect.stringContaining("another_deployment") });
  rmSync(file("coordinator-root-ca.pem"));
  expect(await contrast("verify")).toMatchObject({ code: 0, stderr: expect.stringContaining("its secrets are new") });
  await stop(another);
});

test("verify leaves no manifest of an earlier verify behind", async () => {
  const manifests = (): string[] => readdirSync(file("verify")).filter((name) => name.startsWith("manifest."));
  const coordinator = await startCoordinator("shorter");
  expect((await contrast("set")).code).toBe(0);
  writeFileSync(file("verify/manifest.9.json"), "{}");
  expect((await contrast("verify")).code).toBe(0);
  expect(manifests()).toEqual(["manifest.1.json"]);
  await stop(coordinator);
});
