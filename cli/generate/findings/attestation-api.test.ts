import { expect, test } from "vitest";
import { COORDINATOR } from "../test-workspace.ts";
import { reviewed, WEB } from "./test-review.ts";

const COCO = { env: [{ name: "CONTRAST_TEE", value: "coco" }] };
/** The Coordinator of another file says that guests have the API. */
const files = (coordinator = COORDINATOR): Record<string, string> => ({
  "coordinator.yml": coordinator.replace(
    /( *)image: \S*coordinator\S*\n/,
    "$&$1env: [{name: CONTRAST_TEE, value: coco}]\n",
  ),
});
const SKIP = { "skip-initializer": "true" };

test("a pod without an Initializer leaves the API open, where there is one", async () => {
  expect(await reviewed({ annotations: SKIP })).toEqual([]);
  expect(await reviewed({ annotations: SKIP, files: files() })).toEqual([
    'warning at "apiVersion: apps/v1": nothing closes CoCo\'s attestation API, want the Initializer, or its command static-rules or lift-default-deny as the first init container',
  ]);
});

test.each(["static-rules", "lift-default-deny"])("%s closes it, too", async (word) => {
  const closer = { ...WEB, name: "closer", command: ["node", "initializer/main.js", word] };
  expect(await reviewed({ annotations: SKIP, files: files(), spec: { initContainers: [closer] } })).toEqual([]);
});

test("one that comes later leaves it open to those before", async () => {
  const closer = { ...WEB, name: "closer", command: ["node", "initializer/main.js", "static-rules"] };
  const initContainers = [{ ...WEB, name: "early" }, closer];
  expect(await reviewed({ annotations: SKIP, files: files(), spec: { initContainers } })).toHaveLength(1);
});

test("with an Initializer there is nothing to be said", async () => {
  expect(await reviewed({ files: files() })).toEqual([]);
});

test.each([["NET_ADMIN"], ["CAP_SYS_ADMIN"], ["ALL"]])("a container with %s may open it again", async (name) => {
  const securityContext = { capabilities: { add: [name] } };
  expect(await reviewed({ containers: [{ ...WEB, securityContext }] })).toEqual([]);
  const said = await reviewed({ containers: [{ ...WEB, securityContext }], files: files() });
  expect(said).toEqual([expect.stringContaining("web may open CoCo's attestation API again")]);
});

test("a container's own word is enough to know that there is one", async () => {
  expect(await reviewed({ annotations: SKIP, containers: [{ ...WEB, ...COCO }] })).toHaveLength(1);
});

test("the annotation that leaves it open is said each time", async () => {
  const said = await reviewed({ annotations: { "open-attestation-api": "true" } });
  expect(said).toEqual([expect.stringContaining("CoCo's attestation API stays open to the pod")]);
});
