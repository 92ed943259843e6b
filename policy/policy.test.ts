import { expect, test } from "vitest";
import { encodeInitdata, regoOf } from "../manifest/initdata.ts";
import type { ImageConfig } from "../registry/resolved-image.ts";
import type { PodSpec } from "../kubernetes/pod-spec.ts";
import type { Loose } from "../kubernetes/test-files.ts";
import { policyOf, withImageVolumes, withoutCommand, withoutUser } from "./policy.ts";
import { POLICY_RULES } from "./policy-rules.ts";
import { IMAGES, PODS } from "./test-pods.ts";

const WEB = { kind: "Deployment" as const, name: "web", namespace: "shop" };
const IMAGE: ImageConfig = {
  entrypoint: ["/entry"],
  cmd: ["serve"],
  env: ["PATH=/bin", "COLOR=red"],
  workingDir: "/srv",
  user: "1000:2000",
  volumes: ["/cache", "/data/"],
};

function dataOf(rego: string): Loose {
  return JSON.parse(rego.slice(rego.indexOf("policy_data := ") + "policy_data := ".length)) as unknown;
}

function pod(container: object, rest: object = {}): PodSpec {
  return { runtimeClassName: "contrast-cc", containers: [{ name: "web", image: "web:1", ...container }], ...rest };
}

/** What the policy says about the container. */
function entryOf(container: object, rest: object = {}, image: Partial<ImageConfig> = {}): Loose {
  const images = new Map([["web:1", { digest: "", config: { ...IMAGE, ...image } }]]);
  return dataOf(policyOf(WEB, pod(container, rest), images)).containers[1];
}

test("states the workload, the sandbox and every container in the order in which they start", () => {
  const spec = pod(
    {},
    {
      initContainers: [
        { name: "init", image: "init:1" },
        { name: "sidecar", image: "sidecar:1" },
      ],
    },
  );
  const { workload, containers } = dataOf(policyOf(WEB, spec, new Map()));
  expect(workload).toEqual(WEB);
  expect(containers.map(({ type, name, after }: Loose) => [type, name, after])).toEqual([
    ["sandbox", "", []],
    ["container", "init", []],
    ["container", "sidecar", ["init"]],
    ["container", "web", ["init", "sidecar"]],
  ]);
});

test("the mesh proxy comes before the other containers, where it is one of them", () => {
  const proxy = { name: "contrast-mesh-proxy", image: "contrast/mesh-proxy:1" };
  const spec = pod({}, { initContainers: [{ name: "contrast-initializer", image: "contrast/initializer:1" }] });
  spec.containers = [proxy, ...spec.containers, { name: "other", image: "web:1" }];
  const { containers } = dataOf(policyOf(WEB, spec, new Map()));
  expect(containers.map(({ name, after }: Loose) => [name, after])).toEqual([
    ["", []],
    ["contrast-initializer", []],
    ["contrast-mesh-proxy", ["contrast-initializer"]],
    ["web", ["contrast-initializer", "contrast-mesh-proxy"]],
    ["other", ["contrast-initializer", "contrast-mesh-proxy"]],
  ]);
});

test("says whether the pod has IPv6", () => {
  expect(dataOf(policyOf(WEB, pod({}), new Map())).ipv6).toBe(true);
  expect(dataOf(policyOf(WEB, pod({}), new Map(), { ipv4Only: true })).ipv6).toBe(false);
});

test("knows no namespace where the resource states none", () => {
  expect(dataOf(policyOf({ ...WEB, namespace: undefined }, pod({}), new Map())).workload.namespace).toBeNull();
});

test.each([
  ["nothing", {}, ["/entry", "serve"]],
  ["a command, which takes the place of both", { command: ["web"] }, ["web"]],
  ["arguments, which take the place of the image's", { args: ["-v"] }, ["/entry", "-v"]],
  ["both", { command: ["web"], args: ["-v"] }, ["web", "-v"]],
  ["empty lists, which state nothing", { command: [], args: [] }, ["/entry", "serve"]],
])("takes the command from the image where the resource states %s", (_, container, command) => {
  expect(entryOf(container).command).toEqual(command);
});

test.each([
  ["$(A)", "1"],
  ["$$(A) $$$(A) $(A)$(A)", "$(A) $1 11"],
  ["$(COLOR) $(PATH) $(HOSTNAME) $() $( $", "$(COLOR) $(PATH) $(HOSTNAME) $() $( $"],
  ["$(NODE)!", [{ variable: "NODE" }, "!"]],
  ["-$(DB_SERVICE_HOST)", ["-", { variable: "DB_SERVICE_HOST" }]],
])("expands %s in an argument as the kubelet does", (text, expanded) => {
  const env = [
    { name: "A", value: "1" },
    { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
  ];
  expect(entryOf({ env, args: [text] }).command[1]).toEqual(expanded);
  expect(entryOf({}, {}, { cmd: [text] }).command[1]).toBe(text);
});

test("puts the variables of the resource over those of the image, and says what the cluster chooses", () => {
  const env = [
    { name: "B", value: "$(A)" },
    { name: "A", value: "1" },
    { name: "COLOR", value: "$(A)$(B)" },
    { name: "NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "KEY", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
    { name: "MAYBE", valueFrom: { configMapKeyRef: { name: "m", key: "k", optional: true } } },
  ];
  const envFrom = [{ configMapRef: { name: "m" } }, { prefix: "X_", secretRef: { name: "s" } }];
  expect(entryOf({ env, envFrom, tty: true }, { enableServiceLinks: false })).toMatchObject({
    env: { PATH: "/bin", COLOR: "1$(A)", B: "$(A)", A: "1" },
    env_from_cluster: { NAME: "pod name", KEY: "anything" },
    optional_env: { HOSTNAME: "host name", TERM: "terminal", MAYBE: "anything" },
    env_prefixes: ["", "X_"],
    services: "kubernetes",
  });
});

test("adds the search path that containerd adds where the image has none", () => {
  expect(entryOf({}, {}, { env: [] }).env).toEqual({ PATH: expect.stringContaining("/usr/local/sbin") as string });
});

test.each([
  ["the image's", {}, {}, "1000:2000", 1000, [0, 1000, 2000]],
  ["that of the image without a group", {}, {}, "33", 33, [0, 33]],
  ["root, if the image states nobody", {}, {}, "", 0, [0]],
  ["root by name", {}, {}, "root:root", 0, [0]],
  ["nobody that is known, if the image states a name", {}, {}, "nginx", null, [0]],
  ["the pod's", {}, { runAsUser: 7 }, "nginx", 7, [0, 7]],
  ["the container's own", { runAsUser: 8 }, { runAsUser: 7, runAsGroup: 9 }, "nginx", 8, [9]],
])("runs as %s", (_, securityContext, podSecurityContext, imageUser, user, groups) => {
  const entry = entryOf({ securityContext }, { securityContext: podSecurityContext }, { user: imageUser });
  expect(entry).toMatchObject({ user, groups });
});

test("states further groups, and root's own only where the image may give them", () => {
  const securityContext = { runAsUser: 0, fsGroup: 5, supplementalGroups: [9, 5] };
  expect(entryOf({}, { securityContext })).toMatchObject({ additional_groups: [5, 9], system_groups: true });
  const strict = { ...securityContext, supplementalGroupsPolicy: "Strict" };
  expect(entryOf({}, { securityContext: strict })).toMatchObject({ system_groups: false });
});

test.each([
  ["nothing", {}, 14],
  ["drops all", { drop: ["ALL"] }, 0],
  ["drops all and adds some", { drop: ["all"], add: ["NET_ADMIN", "CAP_SYS_TIME"] }, 2],
  ["adds all", { add: ["ALL"] }, 41],
  ["adds what it drops", { add: ["NET_ADMIN"], drop: ["NET_ADMIN"] }, 14],
])("knows the capabilities of a container that %s", (_, capabilities, count) => {
  const entry = entryOf({ securityContext: { capabilities } });
  expect(entry.capabilities).toHaveLength(count);
  expect(entry.capabilities).toEqual(entry.capabilities.toSorted());
});

test.each([
  [`nginx:1.25@sha256:${"0".repeat(64)}`, [":1.25", "docker.io/library/nginx", "docker.io/library/nginx:1.25"]],
  [`a.example:5000/b/c@sha256:${"0".repeat(64)}`, ["a.example:5000/b/c"]],
  ["nginx:1.25", []],
  ["nginx@sha256:123", []],
  ["No Image", []],
])("allows the image %s by its names with a digest", (image, names) => {
  const { image_names } = entryOf({ image });
  expect(image_names).toHaveLength(names.length);
  for (const [index, name] of names.entries()) expect(image_names[index]).toContain(`${name}@sha256:`);
});

test.each<[string, string, string[], string[]]>([
  ["Pod", "a.b", ["a.b"], ["a-b", "a.b-0"]],
  ["StatefulSet", "db", ["db-0", "db-12"], ["db", "db-x", "db2-0"]],
  ["Deployment", "web", ["web-5d78c9869d-79bfv"], ["web-79bfv", "webs-5d78c9869d-79bfv"]],
  ["DaemonSet", "log", ["log-79bfv"], ["log-5d78c9869d-79bfv"]],
  ["Job", "run", ["run-79bfv", "run-3-79bfv"], ["run-a-79bfv"]],
  ["CronJob", "tick", ["tick-29123456-79bfv"], ["tick-79bfv"]],
  ["Rollout.argoproj.io", "web", ["web", "web-0", "web-5d78c9869d-79bfv"], ["webs-0", "a-web", "web.0", "web-"]],
  ["Service.serving.knative.dev", "y".repeat(41), [`${"y".repeat(20)}0c9d-deployment-5d7-79bfv`], ["y".repeat(19)]],
  ["Deployment", "x".repeat(60), [`${"x".repeat(58)}79bfv`], [`${"x".repeat(57)}79bfv`]],
])("knows how the pods of a %s are called", (kind, name, right, wrong) => {
  const pattern = new RegExp(dataOf(policyOf({ kind, name, namespace: undefined }, pod({}), new Map())).pod_name);
  for (const podName of right) expect(podName).toMatch(pattern);
  for (const podName of wrong) expect(podName).not.toMatch(pattern);
});

test("names the containers that a policy refuses, or that use the host's disk, for what is not known or stated", () => {
  const images = new Map([["web:1", { digest: "", config: { ...IMAGE, user: "nginx" } }]]);
  const volumeMounts = [{ name: "data", mountPath: "/data" }];
  const spec = pod({ volumeMounts }, { initContainers: [{ name: "init", image: "init:1" }] });
  expect(withoutCommand(spec, images)).toEqual(["init"]);
  expect(withoutUser(spec, images)).toEqual(["web"]);
  expect(withImageVolumes(spec, images)).toEqual(new Map([["web", ["/cache"]]]));
});

test("can be carried by an initdata document, whatever a container says", () => {
  const odd = "'''\u0000\u001b\u007f\r\n\"\\\ud800 ''''''";
  const rego = policyOf(WEB, pod({ command: [odd], env: [{ name: odd, value: odd }] }), new Map());
  expect(regoOf(encodeInitdata(rego))).toBe(rego);
  expect(dataOf(rego).containers[1]).toMatchObject({ command: [odd], env: { [odd]: odd } });
});

test("is the same text for the same pod, in lines that an agent's engine takes", () => {
  for (const { subject, spec } of Object.values(PODS)) {
    const rego = policyOf(subject, spec, IMAGES);
    expect(policyOf({ ...subject }, structuredClone(spec), new Map([...IMAGES].toReversed()))).toBe(rego);
    expect(rego.startsWith(`${POLICY_RULES}\npolicy_data := {\n`)).toBe(true);
    expect(rego).not.toMatch(/[^\n\t -~]|.{200}/);
  }
});
