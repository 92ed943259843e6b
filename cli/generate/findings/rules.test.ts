import { expect, test } from "vitest";
import { findingsOf, reviewed, WEB } from "./test-review.ts";

/** Each rule by what is said about a real file, and by what is not. */

const ingress = (rules: string): Record<string, string> => ({ "servicemesh-ingress": rules });
const port = (containerPort: number, more: object = {}): object => ({ ...WEB, ports: [{ containerPort, ...more }] });
const memory = (name: string, requests?: string | number, limits?: string | number): object => ({
  ...WEB,
  name,
  resources: {
    ...(requests !== undefined && { requests: { memory: requests } }),
    ...(limits !== undefined && { limits: { memory: limits } }),
  },
});

test("has nothing to say about a pod that states everything", async () => {
  expect(await reviewed({ annotations: ingress("web#8080#false"), containers: [port(8080)] })).toEqual([]);
  expect(await reviewed({})).toEqual([]);
});

test("adds up the memory of a VM: the containers and sidecars", async () => {
  const pod = {
    annotations: { "servicemesh-egress": "db#127.137.0.1:5432#db:5432" },
    containers: [memory("a", "1Gi", "1Gi"), memory("b", "50Mi", "0.1G"), memory("c", "64Mi"), memory("d")],
  };
  const want = "want requests and limits of the same memory";
  expect(await reviewed(pod)).toEqual([
    `warning at "requests:": b requests 50Mi of memory, its limit is 95.4Mi, ${want}`,
    `warning at "requests:": no memory limit for c, ${want}`,
    `warning at "resources: {}": no memory limit for d, ${want}`,
  ]);
  const [first] = await findingsOf(pod);
  expect(first?.finding.hint).toBe(
    "the VM gets 1375.4Mi, contrast-mesh-proxy 256Mi + a 1024Mi + b 95.4Mi + c ? + d ?, and what its runtime class adds; images that it pulls and unpacks fill it, too",
  );
});

test.for([
  ["128Mi", "134217728"],
  ["128Mi", 134_217_728],
  ["1e9", "1G"],
  [undefined, "1Gi"],
] as const)("takes requests of %s and limits of %s for the same memory", async ([requests, limits]) => {
  expect(await reviewed({ containers: [memory("a", requests, limits)] })).toEqual([]);
});

test("counts an init container and the sidecars before it, where these need most", async () => {
  const sidecar = { ...memory("s", "1Mi", "2Mi"), restartPolicy: "Always" };
  const hintOf = async (initContainers: object[], spec: object = {}): Promise<string | undefined> => {
    const findings = await findingsOf({
      containers: [memory("a", "1Mi", "64Mi")],
      spec: { initContainers, ...spec },
      annotations: { "skip-initializer": "true" },
    });
    return findings[0]?.finding.hint;
  };
  expect(await hintOf([sidecar, memory("i", "1Gi", "1Gi"), memory("j", "1Mi", "1Mi")])).toMatch(
    /^the VM gets 1026Mi, s 2Mi \+ i 1024Mi, and/,
  );
  expect(await hintOf([memory("i", "1Gi", "1Gi"), sidecar])).toMatch(/^the VM gets 1024Mi, and/);
  expect(await hintOf([sidecar, memory("i", "63Mi", "63Mi")])).toMatch(/^the VM gets 66Mi, s 2Mi \+ a 64Mi, and/);
  expect(await hintOf([sidecar], { resources: { limits: { memory: "1Gi" } } })).toMatch(/^the VM gets 1024Mi, and/);
});

test("refuses a quantity that is none", async () => {
  expect(await reviewed({ containers: [memory("a", "1Gb", "1Gi")] })).toEqual([
    'error at "requests:": "1Gb", want a quantity, like 128Mi',
  ]);
});

const probe = (action: object): object => ({
  ...WEB,
  ports: [{ name: "http", containerPort: 8080 }],
  readinessProbe: action,
});
const CERTIFICATE = "at port 8080, which asks for a client certificate";
const PLAIN = "in plain text at port 8080, which speaks TLS";

test.for([
  ["httpGet", { httpGet: { port: 8080 } }, "", `httpGet ${CERTIFICATE}`],
  ["httpGet by name", { httpGet: { port: "http" } }, "", `httpGet ${CERTIFICATE}`],
  ["httpGet by HTTPS", { httpGet: { port: "8080", scheme: "HTTPS" } }, "", `httpGet ${CERTIFICATE}`],
  ["grpc", { grpc: { port: 8080 } }, "", `grpc ${CERTIFICATE}`],
  [
    "tcpSocket",
    { tcpSocket: { port: 8080 } },
    "",
    "tcpSocket at port 8080, where the mesh proxy answers, whatever the application does",
  ],
  ["httpGet at TLS", { httpGet: { port: 8080 } }, "web#8080#false", `httpGet ${PLAIN}`],
  ["grpc at TLS", { grpc: { port: 8080 } }, "web#8080#false", `grpc ${PLAIN}`],
] as const)("warns of a probe by %s", async ([, action, rules, got]) => {
  const [finding, ...others] = await reviewed({ annotations: ingress(rules), containers: [probe(action)] });
  expect(finding).toContain(`: ${got}, want an exec probe, or an ingress rule that lets the port pass (web#8080#true)`);
  expect(others).toEqual([]);
});

test.for([
  ["of another host", { httpGet: { port: 8080, host: "db" } }, ingress("")],
  ["at a port that is passed through", { httpGet: { port: "http" } }, ingress("web#8080#true")],
  [
    "by HTTPS, where no certificate is asked for",
    { httpGet: { port: 8080, scheme: "HTTPS" } },
    ingress("w#8080#false"),
  ],
  ["by a program", { exec: { command: ["true"] } }, ingress("")],
  ["at the admin port", { httpGet: { port: 9901 } }, { ...ingress(""), "servicemesh-admin-interface-port": "9901" }],
  ["without ingress rules", { httpGet: { port: 8080 } }, {}],
] as const)("says nothing of a probe %s", async ([, action, annotations]) => {
  expect(await reviewed({ annotations, containers: [probe(action)] })).toEqual([]);
});

const egress = (listen: string): Record<string, string> => ({ "servicemesh-egress": `db#${listen}#db:5432` });
const ANOTHER = "want another port for one of them";

test.for([
  [
    "a container's port",
    egress("127.137.0.1:5432"),
    [port(5432)],
    "container web at port 5432, where egress rule db at 127.137.0.1:5432 listens",
  ],
  [
    "the proxy's own port",
    { ...ingress(""), ...egress("127.0.0.1:15006") },
    [WEB],
    "egress rule db at 127.0.0.1:15006, where the mesh proxy itself at 127.0.0.1:15006 listens",
  ],
  [
    "the admin port",
    { ...egress("[::1]:9901"), "servicemesh-admin-interface-port": "9901" },
    [WEB],
    "egress rule db at [::1]:9901, where the mesh proxy's admin interface at port 9901 listens",
  ],
  [
    "a container at the admin port",
    { "servicemesh-admin-interface-port": "9901" },
    [port(9901)],
    "container web at port 9901, where the mesh proxy's admin interface at port 9901 listens",
  ],
  [
    "a container at the proxy's own port",
    ingress(""),
    [port(15_007)],
    "container web at port 15007, where the mesh proxy itself at 127.0.0.1:15007 listens",
  ],
] as const)("refuses a listener at %s", async ([, annotations, containers, got]) => {
  expect(await reviewed({ annotations, containers })).toEqual([expect.stringContaining(`${got}, ${ANOTHER}`)]);
});

test.for([
  ["at another address", { ...ingress(""), ...egress("127.137.0.1:15006") }, [WEB]],
  ["beside a UDP port", egress("127.137.0.1:5432"), [port(5432, { protocol: "UDP" })]],
] as const)("lets a listener be %s", async ([, annotations, containers]) => {
  expect(await reviewed({ annotations, containers })).toEqual([]);
});

test("warns of an ingress rule for a port that no container declares", async () => {
  expect(await reviewed({ annotations: ingress("web#8080#false"), containers: [port(8081)] })).toEqual([
    expect.stringMatching(
      /servicemesh-ingress.*: rule web for port 8080, which no container declares, want one of 8081/,
    ),
  ]);
  expect(await reviewed({ annotations: ingress("web#8080#false") })).toEqual([
    expect.stringContaining("want containerPort: 8080"),
  ]);
});

test("refuses what is the host's, and warns of a container with all rights", async () => {
  const spec = { hostNetwork: true, hostPID: true, hostIPC: false };
  const containers = [{ ...WEB, securityContext: { privileged: true } }];
  expect(await reviewed({ spec, containers })).toEqual([
    'warning at "privileged: true": web may do everything in its VM, want the capabilities that it needs',
    'error at "hostNetwork: true": true, want no hostNetwork: the pod runs in a VM of its own',
    'error at "hostPID: true": true, want no hostPID: the pod runs in a VM of its own',
  ]);
});

test("warns of every volume that the host can read or change", async () => {
  const sources = {
    a: { configMap: { name: "a" } },
    b: { secret: { secretName: "b" } },
    c: { hostPath: { path: "/srv" } },
    d: { persistentVolumeClaim: { claimName: "d" } },
    e: { emptyDir: {} },
    f: { nfs: { server: "nas", path: "/" } },
    g: {},
  };
  const volumes = Object.entries(sources).map(([name, source]) => ({ name, ...source }));
  expect((await reviewed({ spec: { volumes } })).map((line) => line.split(", want ")[0])).toEqual(
    ["a as configMap", "b as secret", "c as hostPath", "d as persistentVolumeClaim", "f as nfs"].map(
      (got) => `warning at "- name: ${got[0]}": ${got}`,
    ),
  );
  const volumeClaimTemplates = [{ metadata: { name: "data" } }];
  expect(await reviewed({ kind: "StatefulSet", workload: { volumeClaimTemplates } })).toEqual([
    'warning at "- metadata:": data as persistentVolumeClaim, want only what the pod encrypts and authenticates',
  ]);
});

test.for([
  [
    "emptyDir: {}",
    { emptyDir: { sizeLimit: "1Mi" } },
    "warning",
    "contrast-tls-certs on the disk, which the host reads",
  ],
  ["a secret", { secret: { secretName: "x" } }, "error", "contrast-tls-certs as secret"],
] as const)("the certificates' volume is not %s", async ([, source, severity, got]) => {
  expect(await reviewed({ spec: { volumes: [{ name: "contrast-tls-certs", ...source }] } })).toEqual([
    `${severity} at "- name: contrast-tls-certs": ${got}, want an emptyDir with medium: Memory`,
  ]);
});

test("nothing else is mounted where the certificates are", async () => {
  const spec = { volumes: [{ name: "data", emptyDir: {} }] };
  const containers = [{ ...WEB, volumeMounts: [{ name: "data", mountPath: "/tls-config/" }] }];
  expect(await reviewed({ spec, containers })).toEqual([
    'error at "- name: data": another volume at /tls-config, want contrast-tls-certs',
  ]);
  expect(await reviewed({ spec, containers }, { skipInitializer: true })).toEqual([]);
});

test("warns of variables that the cluster chooses", async () => {
  const env = [
    { name: "MODE", value: "x" },
    { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
    { name: "PASSWORD", valueFrom: { secretKeyRef: { name: "db", key: "p" } } },
  ];
  expect(await reviewed({ containers: [{ ...WEB, env, envFrom: [{ configMapRef: { name: "all" } }] }] })).toEqual([
    'warning at "- name: MODE": variables from the cluster: NODE (fieldRef), PASSWORD (secretKeyRef), want values in the resource',
    'warning at "- configMapRef:": whatever a ConfigMap or Secret has as variables, want values in the resource',
  ]);
});

test("warns of a job that a mesh proxy would keep from ending", async () => {
  const job = { kind: "Job", annotations: { "servicemesh-egress": "db#127.137.0.1:5432#db:5432" } };
  expect(await reviewed(job)).toEqual([]);
  expect(await reviewed(job, { sidecar: "container" })).toEqual([
    expect.stringContaining("a Job whose mesh proxy is an ordinary container: it never completes"),
  ]);
});

test("warns of an ingress whose ports nobody closes before the mesh proxy runs", async () => {
  const annotations = ingress("web#8080#false");
  const warning = [
    'warning at "contrast.edgeless.systems/servicemesh-ingress: web#8080#false": an ingress, and no Initializer that closes the pod\'s ports before all else runs, want the Initializer first, without skip-initializer',
  ];
  const containers = [port(8080)];
  expect(await reviewed({ annotations, containers })).toEqual([]);
  expect(await reviewed({ annotations, containers }, { skipInitializer: true })).toEqual(warning);
  expect(await reviewed({ annotations: { ...annotations, "skip-initializer": "true" }, containers })).toEqual(warning);
  const egress = { "servicemesh-egress": "db#127.137.0.1:5432#db:5432" };
  expect(await reviewed({ annotations: egress, containers }, { skipInitializer: true })).toEqual([]);
});

test("warns of applications that have no group in common to read the key", async () => {
  const as = (name: string, runAsUser: number, runAsGroup?: number): object => ({
    ...WEB,
    name,
    securityContext: { runAsUser, ...(runAsGroup !== undefined && { runAsGroup }) },
  });
  const apart = [as("a", 1000, 2000), as("b", 1001), as("c", 0)];
  expect(await reviewed({ containers: apart })).toEqual([
    'warning at "- name: a": users of several groups: a (1000:2000), b (1001:1001); only root can read the key and the secret, want contrast.edgeless.systems/key-group with the group that may, or empty if none needs them',
  ]);
  expect(await reviewed({ containers: apart }, { skipInitializer: true })).toEqual([]);
  for (const group of ["2000", ""]) {
    expect(await reviewed({ containers: apart, annotations: { "key-group": group } })).toEqual([]);
  }
  const spec = { securityContext: { fsGroup: 3000 } };
  expect(await reviewed({ spec, containers: apart })).toEqual([]);
  expect(await reviewed({ spec, containers: apart, annotations: { "key-group": "2000" } })).toEqual([
    'warning at "contrast.edgeless.systems/key-group: "2000"": 2000, but files in the pod\'s volumes get its fsGroup, 3000, want 3000, or no key-group',
  ]);
});

const namespace = (labels: Record<string, string>): Record<string, string> => {
  const named = Object.entries(labels).map(([mode, level]) => `pod-security.kubernetes.io/${mode}: ${level}`);
  return { "ns.yml": `apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {${named.join(", ")}}}\n` };
};
const SECURED = {
  ...WEB,
  ports: [{ containerPort: 8080 }],
  securityContext: {
    allowPrivilegeEscalation: false,
    runAsNonRoot: true,
    runAsUser: 1000,
    runAsGroup: 1000,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  },
};

const NO_CAPABILITIES = { "keep-default-deny": "true", "open-attestation-api": "true" };

/** As the table in docs/generate.md has it. */
test.for([
  ["an ingress", ingress("web#8080#false"), "metal-qemu-snp", "privileged"],
  ["an ingress", ingress("web#8080#false"), "simulated", "privileged"],
  ["no mesh", {}, "metal-qemu-snp", "privileged"],
  ["no mesh, and the default deny", { "keep-default-deny": "true" }, "metal-qemu-snp", "privileged"],
  ["no mesh, the default deny and CoCo's API", NO_CAPABILITIES, "metal-qemu-snp", "baseline"],
  ["no mesh", {}, "simulated", "restricted"],
  ["an egress", { ...egress("127.137.0.1:5432"), ...NO_CAPABILITIES }, "metal-qemu-snp", "baseline"],
  ["an egress", egress("127.137.0.1:5432"), "simulated", "restricted"],
  [
    "a bound ingress",
    { ...ingress("web#8080#false"), "servicemesh-ingress-mode": "bind", ...NO_CAPABILITIES },
    "metal-qemu-snp",
    "baseline",
  ],
  ["a bound ingress", { ...ingress("web#8080#false"), "servicemesh-ingress-mode": "bind" }, "simulated", "restricted"],
] as const)("a pod with %s on %s fits level %s", async ([, annotations, platform, level]) => {
  const files = namespace({ enforce: "restricted" });
  const lines = await reviewed({ annotations, containers: [SECURED], files }, { referenceValues: [platform] });
  const complaints = lines.filter((line) => line.includes("the namespace has level"));
  const complaint = new RegExp(`level restricted \\(enforce, .*ns\\.yml:3:.*want level ${level},`);
  expect(complaints).toEqual(level === "restricted" ? [] : [expect.stringMatching(complaint)]);
});

test("says what is refused before what is warned of", async () => {
  const of = async (labels: Record<string, string>): Promise<string[]> =>
    reviewed({ containers: [SECURED], files: namespace(labels) }, {});
  const what = "contrast-initializer: capability NET_ADMIN, contrast-initializer: capability NET_RAW";
  const [refused, ...others] = await of({ enforce: "baseline", warn: "restricted" });
  expect(refused).toMatch(
    new RegExp(
      `^warning at "apiVersion: apps/v1": the namespace has level baseline \\(enforce.*which refuses ${what}, want`,
    ),
  );
  expect(others).toEqual([]);
  expect(await of({ enforce: "privileged", audit: "restricted" })).toEqual([
    expect.stringMatching(/level restricted \(audit.*which complains of .*runAsUser is 0, want level privileged/),
  ]);
});

test("says loudly what mode bind does not protect, and refuses it without a port", async () => {
  const annotations = { ...ingress("web#8080#false"), "servicemesh-ingress-mode": "bind" };
  const ports = [{ containerPort: 8080 }, { containerPort: 9090 }];
  expect(await reviewed({ annotations, containers: [{ ...WEB, ports }] })).toEqual([
    'warning at "contrast.edgeless.systems/servicemesh-ingress-mode: bind": mode bind: only connections to ports 8080, 9090 of the mesh proxy are checked; whatever else in the pod listens beyond loopback is open to everybody, in plain text, want mode transparent, or applications that listen at 127.0.0.1 alone',
  ]);
  expect(await reviewed({ annotations: { ...annotations, ...ingress("") } })).toEqual([
    'error at "contrast.edgeless.systems/servicemesh-ingress-mode: bind": mode bind, and no port to listen at, want containerPort of the applications, or ingress rules',
  ]);
});

test("warns of an application behind a Service that ends at once", async () => {
  const service = (selector: string): Record<string, string> => ({
    "service.yml": `apiVersion: v1\nkind: Service\nmetadata: {name: web-svc}\nspec: {selector: ${selector}, ports: [{port: 80}]}\n`,
  });
  const pod = { annotations: ingress("web#8080#false"), containers: [port(8080)], labels: { app: "web" } };
  const warning =
    'warning at "- name: web": web has no preStop hook: a restart loses connections that Service web-svc still sends, want lifecycle: { preStop: { sleep: { seconds: 5 } } }';
  expect(await reviewed({ ...pod, files: service("{app: web}") })).toEqual([warning]);
  expect(await reviewed({ ...pod, files: service("{app: web, tier: front}") })).toEqual([]);
  expect(await reviewed({ ...pod, files: service("{}") })).toEqual([]);
  expect(await reviewed({ ...pod, annotations: {}, files: service("{app: web}") })).toEqual([]);
  const waiting = [{ ...WEB, ports: [{ containerPort: 8080 }], lifecycle: { preStop: { sleep: { seconds: 5 } } } }];
  expect(await reviewed({ ...pod, containers: waiting, files: service("{app: web}") })).toEqual([]);
});
