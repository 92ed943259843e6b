import { expect, test } from "vitest";
import { type Pod, reviewed, WEB } from "./test-review.ts";

const said = (pod: Pod, options?: object): Promise<string[]> =>
  reviewed(pod, options, (code) => code === "attestation_api");
const SKIP = { "skip-initializer": "true" };
const UNCLOSED =
  'warning at "apiVersion: apps/v1": nothing closes CoCo\'s attestation API, want the Initializer, or its command static-rules or lift-default-deny as the first init container';

test("a pod without an Initializer leaves the API open", async () => {
  expect(await said({ annotations: SKIP })).toEqual([UNCLOSED]);
  expect(await said({}, { skipInitializer: true })).toEqual([UNCLOSED]);
});

test.each(["static-rules", "lift-default-deny"])("%s closes it, too", async (word) => {
  const closer = { ...WEB, name: "closer", command: ["node", "initializer/main.js", word] };
  expect(await said({ annotations: SKIP, spec: { initContainers: [closer] } })).toEqual([]);
});

test("one that comes later leaves it open to those before", async () => {
  const closer = { ...WEB, name: "closer", command: ["node", "initializer/main.js", "static-rules"] };
  const initContainers = [{ ...WEB, name: "early" }, closer];
  expect(await said({ annotations: SKIP, spec: { initContainers } })).toEqual([UNCLOSED]);
});

test("with an Initializer there is nothing to be said, and without a guest neither", async () => {
  expect(await said({})).toEqual([]);
  expect(await said({ annotations: SKIP }, { referenceValues: ["simulated"] })).toEqual([]);
});

test.each([["NET_ADMIN"], ["CAP_SYS_ADMIN"], ["ALL"]])("a container with %s may open it again", async (name) => {
  const securityContext = { capabilities: { add: [name] } };
  expect(await said({ containers: [{ ...WEB, securityContext }] })).toEqual([
    expect.stringContaining("web may open CoCo's attestation API again"),
  ]);
});

test("the annotation that leaves it open is said each time", async () => {
  expect(await said({ annotations: { "open-attestation-api": "true" } })).toEqual([
    expect.stringContaining("CoCo's attestation API stays open to the pod"),
  ]);
});

test("who is beside the Coordinator may ask for its evidence", async () => {
  const annotations = { "pod-role": "coordinator" };
  const others = await said({
    annotations,
    containers: [
      { ...WEB, name: "coordinator" },
      { ...WEB, name: "beside" },
    ],
  });
  expect(others).toEqual([expect.stringContaining("beside may ask for evidence of the Coordinator")]);
});
