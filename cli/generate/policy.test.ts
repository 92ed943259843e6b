import { expect, test } from "vitest";
import { encodeInitdata, regoOf } from "../../manifest/initdata.ts";
import type { PodSpec } from "./pod-spec.ts";
import { policyOf } from "./policy.ts";
import type { Loose } from "./test-workspace.ts";

const WEB = { kind: "Deployment", name: "web", namespace: "shop" };

function dataOf(rego: string): Loose {
  return JSON.parse(rego.slice(rego.indexOf("policy_data := ") + "policy_data := ".length)) as unknown;
}

function pod(container: object, rest: object = {}): PodSpec {
  return { runtimeClassName: "contrast-cc", containers: [{ name: "web", image: "web:1", ...container }], ...rest };
}

test("states the sandbox and every container with all that it says", () => {
  const spec = pod(
    {
      command: ["web"],
      args: ["-v"],
      workingDir: "/srv",
      tty: true,
      env: [
        { name: "B", value: "2" },
        { name: "A" },
        { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
      ],
      volumeMounts: [
        { name: "certs", mountPath: "/tls-config", readOnly: true },
        { name: "data", mountPath: "/data" },
      ],
      securityContext: {
        runAsUser: 7,
        privileged: true,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { add: ["NET_ADMIN", "CAP_SYS_TIME"], drop: ["ALL"] },
      },
    },
    {
      initContainers: [{ name: "init", image: "init:1" }],
      volumes: [{ name: "certs", emptyDir: { medium: "Memory" } }, { name: "data" }],
      securityContext: { runAsUser: 65_532 },
    },
  );
  const { workload, containers } = dataOf(policyOf(WEB, spec));
  expect(workload).toEqual(WEB);
  expect(containers.map(({ type, name }: Loose) => [type, name])).toEqual([
    ["sandbox", ""],
    ["container", "init"],
    ["container", "web"],
  ]);
  expect(containers[1]).toMatchObject({
    image: "init:1",
    command: [],
    args: [],
    cwd: "/",
    env: [],
    mounts: [],
    user: 65_532,
  });
  expect(containers[1].capabilities).toHaveLength(14);
  expect(containers[2]).toEqual({
    type: "container",
    name: "web",
    image: "web:1",
    command: ["web"],
    args: ["-v"],
    cwd: "/srv",
    env: ["B=2", "A="],
    env_from_cluster: ["NODE"],
    mounts: [
      { destination: "/tls-config", source: "/run/kata-containers/sandbox/ephemeral/certs", read_only: true },
      { destination: "/data", source: "/run/kata-containers/shared/containers/", read_only: false },
    ],
    terminal: true,
    user: 7,
    privileged: true,
    no_new_privileges: true,
    read_only_root: true,
    capabilities: ["CAP_NET_ADMIN", "CAP_SYS_TIME"],
  });
});

test("refuses by default and never allows a program to be started or fed", () => {
  const rego = policyOf(WEB, pod({}));
  for (const request of ["CreateContainerRequest", "ExecProcessRequest", "WriteStreamRequest", "SetPolicyRequest"]) {
    expect(rego).toContain(`default ${request} := false\n`);
  }
  expect(rego).toContain("default AllowRequestsFailingPolicy := false\n");
  expect(rego).not.toMatch(/^(ExecProcessRequest|WriteStreamRequest|CloseStdinRequest|SetPolicyRequest)/m);
});

test("can be carried by an initdata document, whatever a container says", () => {
  const odd = "'''\u0000\u001b\u007f\r\n\"\\\ud800 ''''''";
  const rego = policyOf(WEB, pod({ command: [odd] }));
  expect(regoOf(encodeInitdata(rego))).toBe(rego);
  expect(dataOf(rego).containers[1].command).toEqual([odd]);
});

test("knows no namespace where the resource states none", () => {
  expect(dataOf(policyOf({ ...WEB, namespace: undefined }, pod({}))).workload.namespace).toBeNull();
});
