import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WORKLOAD_KINDS } from "../../kubernetes/kinds.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { COORDINATOR, workspace } from "../generate/test-workspace.ts";
import { restartsOf } from "./restarts.ts";

/** Of what `generate` really writes. */

const SPEC = (image: string): string =>
  `{runtimeClassName: contrast-cc, containers: [{name: a, image: "${image}", command: [a]}]}`;

function resource(kind: string, name: string, { image = "web:1", more = "" } = {}): string {
  const group = /^(Pod|ReplicationController)$/.test(kind) ? "v1" : `${kind.endsWith("Job") ? "batch" : "apps"}/v1`;
  const template = `{metadata: {labels: {a: b}}, spec: ${SPEC(image)}}`;
  const spec = { Pod: SPEC(image), CronJob: `{jobTemplate: {spec: {template: ${template}}}}` }[kind];
  return `apiVersion: ${group}
kind: ${kind}
metadata: {name: ${name}${more}}
spec: ${spec ?? `{template: ${template}}`}
`;
}

async function restarts(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>) {
  const first = await workspace({ "coordinator.yml": COORDINATOR, ...before });
  await first.run();
  const second = await workspace({ "coordinator.yml": COORDINATOR, ...after });
  await second.run();
  const manifestOf = async (dir: string) => parseManifest(await openless(join(dir, "manifest.json")));
  const policies = await collectPolicies([join(second.dir, "app")]);
  const { restart, renewed, changed } = restartsOf(policies, await manifestOf(first.dir), await manifestOf(second.dir));
  return { restart: restart.map((line) => line.replace(second.dir, "DIR")), renewed, changed };
}

/** The manifest with reference values, which are for people to fill in. */
async function openless(path: string): Promise<Buffer> {
  const manifest = JSON.parse(await readFile(path, "utf8")) as { ReferenceValues: object };
  manifest.ReferenceValues = { insecure: [{ RootDigest: "66".repeat(32), TrustedMeasurement: "77".repeat(48) }] };
  return Buffer.from(JSON.stringify(manifest));
}

test("every kind has a line, and kubectl can restart those that it is told to restart", async () => {
  const files = Object.fromEntries(
    WORKLOAD_KINDS.map((kind) => [`${kind}.yml`, resource(kind, kind.toLowerCase(), { more: ", namespace: shop" })]),
  );
  const { restart, changed } = await restarts(files, files);
  expect(restart.toSorted()).toEqual([
    "cronjob/cronjob -n shop: its next run gets new certificates; delete the Job of a run that still goes on",
    "job/job -n shop: if it still runs: delete it, and apply DIR/app/Job.yml again",
    "kubectl rollout restart daemonset/daemonset -n shop",
    "kubectl rollout restart deployment/deployment -n shop",
    "kubectl rollout restart statefulset/statefulset -n shop",
    "pod/pod -n shop: delete it, and apply DIR/app/Pod.yml again",
    "replicaset/replicaset -n shop: delete its pods: new ones take their place",
    "replicationcontroller/replicationcontroller -n shop: delete its pods: new ones take their place",
  ]);
  expect(changed).toEqual([]);
});

test("what has changed is applied, and not restarted", async () => {
  const before = { "a.yml": resource("Deployment", "a"), "b.yml": resource("Deployment", "b") };
  const after = { "a.yml": resource("Deployment", "a", { image: "cache:1" }), "b.yml": before["b.yml"] };
  const { restart, changed } = await restarts(before, { ...after, "new.yml": resource("StatefulSet", "new") });
  expect(restart).toEqual(["kubectl rollout restart deployment/b"]);
  expect(changed).toEqual(["deployment/a", "statefulset/new"]);
});

test("a pod that renews its certificates need not restart", async () => {
  const renews = ', annotations: {contrast.edgeless.systems/renew: "true"}';
  const files = { "a.yml": resource("Deployment", "a", { more: renews }), "b.yml": resource("Deployment", "b") };
  const first = await restarts(files, files);
  expect(first).toEqual({ restart: ["kubectl rollout restart deployment/b"], renewed: ["deployment/a"], changed: [] });
});

test("a pod without certificates need not restart", async () => {
  const skips = ', annotations: {contrast.edgeless.systems/skip-initializer: "true"}';
  const files = { "a.yml": resource("Deployment", "a", { more: skips }), "b.yml": resource("Deployment", "b") };
  expect((await restarts(files, files)).restart).toEqual(["kubectl rollout restart deployment/b"]);
});
