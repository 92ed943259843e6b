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

/** Says that another deployment is meant, as the errors tell. */
function forget(): void {
  for (const name of ["coordinator-root-ca.pem", "pinned.json"]) rmSync(file(name));
}

test("set warns of manifests that the workspace has not seen, until verify has shown them", async () => {
  const coordinator = await startCoordinator("unseen");
  expect((await contrast("set")).stderr).not.toContain("warning");
  // As another owner's workspace would be.
  for (const name of ["coordinator-root-ca.pem", "seed-shares.json", "pinned.json"]) rmSync(file(name));
  const warning = "warning: the Coordinator has had 1 manifest that this workspace has not seen";
  expect(await contrast("set")).toMatchObject({ code: 0, stderr: expect.stringContaining(warning) });
  forget();
  expect((await contrast("verify")).code).toBe(0);
  expect((await contrast("set")).stderr).not.toContain("warning");
  await stop(coordinator);
}, 60_000);

test("a state that was taken away is nothing that set or verify pass over", async () => {
  const coordinator = await startCoordinator("taken-away");
  const refusedSet = await contrast("set");
  expect(refusedSet).toMatchObject({ code: 3, stderr: expect.stringContaining("another_deployment") });
  expect(refusedSet.stderr).toContain("got no manifest");
  // A workspace of before pins were kept is warned.
  rmSync(file("pinned.json"));
  expect((await contrast("set")).stderr).toContain("so all secrets are new");
  await stop(coordinator);

  // Meanwhile the host has made a genuine Coordinator enforce the very same manifest, with secrets of its own time.
  const own = ["coordinator-root-ca.pem", "pinned.json"].map((name) => [name, deployment.read(name)] as const);
  forget();
  const another = await startCoordinator("made-anew");
  expect((await contrast("set")).code).toBe(0);
  for (const [name, content] of own) writeFileSync(file(name), content);
  for (const command of ["verify", "set"]) {
    expect(await contrast(command)).toMatchObject({ code: 3, stderr: expect.stringContaining("another_deployment") });
  }
  rmSync(file("pinned.json"));
  expect(await contrast("verify")).toMatchObject({ code: 3, stderr: expect.stringContaining("another_deployment") });
  for (const [name, content] of own) if (name !== "pinned.json") expect(deployment.read(name)).toBe(content);
  rmSync(file("coordinator-root-ca.pem"));
  expect(await contrast("verify")).toMatchObject({ code: 0, stderr: expect.stringContaining("its secrets are new") });
  await stop(another);
}, 90_000);

test("verify leaves no manifest of an earlier verify behind", async () => {
  const manifests = (): string[] => readdirSync(file("verify")).filter((name) => name.startsWith("manifest."));
  const coordinator = await startCoordinator("shorter");
  rmSync(file("pinned.json"));
  expect((await contrast("set")).code).toBe(0);
  writeFileSync(file("verify/manifest.9.json"), "{}");
  expect((await contrast("verify")).code).toBe(0);
  expect(manifests()).toEqual(["manifest.1.json"]);
  await stop(coordinator);
});
