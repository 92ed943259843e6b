import { parse } from "yaml";
import type { ImageConfig, ResolvedImages } from "../registry/resolved-image.ts";
import { type PodSpec, podTemplateSchema } from "../kubernetes/pod-spec.ts";
import type { PolicySubject } from "./policy.ts";
import type { Cluster, Runtime } from "./test-kubelet.ts";
import { type ContainerRequests, podNameOf, type PodRequests, podRequests } from "./test-requests.ts";

/** Pods with much of what a pod can have, and their images. */

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

function image(reference: string, config: Partial<ImageConfig>): [string, ImageConfig] {
  const empty = { entrypoint: [], cmd: [], env: [PATH], workingDir: "", user: "", volumes: [] };
  return [`${reference}@${DIGEST}`, { ...empty, ...config }];
}

export const IMAGES: ResolvedImages = new Map(
  [
    image("nginx:1.25", {
      entrypoint: ["/entrypoint.sh"],
      cmd: ["nginx", "-g", "daemon off;"],
      env: [PATH, "NGINX=1.25"],
    }),
    image("postgres:16", {
      entrypoint: ["docker-entrypoint.sh"],
      cmd: ["postgres"],
      env: ["PATH=/usr/lib/postgresql/16/bin:/usr/bin:/bin", "PGDATA=/var/lib/postgresql/data", "LANG=en_US.utf8"],
      volumes: ["/var/lib/postgresql/data"],
    }),
    image("registry.example.com:5000/team/app", {
      entrypoint: ["/app"],
      cmd: ["--default"],
      workingDir: "/srv",
      user: "1000:2000",
    }),
    image("busybox", { cmd: ["sh"] }),
    image("contrast/emojivoto:0.1.0", { cmd: ["node"], user: "65532", workingDir: "/app" }),
    image("contrast/coordinator:0.1.0", OWN("coordinator")),
    image("contrast/initializer:0.1.0", OWN("initializer")),
    image("contrast/mesh-proxy:0.1.0", OWN("mesh-proxy")),
  ].map(([reference, config]) => [reference, { digest: DIGEST, config }]),
);

function OWN(program: string): Partial<ImageConfig> {
  return { entrypoint: ["/usr/local/bin/node", `/opt/contrast/${program}/main.js`], workingDir: "/", user: "65532" };
}

/** A reference as `generate` pins it. */
export function pinned(reference: string): string {
  return `${reference}@${DIGEST}`;
}

export interface TestPod {
  readonly subject: PolicySubject;
  readonly spec: PodSpec;
}

function pod(kind: string, name: string, namespace: string | undefined, yaml: string): TestPod {
  const text = yaml.replaceAll(/image: ([^\s,}]+)/g, (_, reference: string) => `image: ${pinned(reference)}`);
  const spec = podTemplateSchema.parse({ spec: { runtimeClassName: "contrast-cc", ...parse(text) } }).spec;
  return { subject: { kind, name, namespace }, spec };
}

export const PODS: Readonly<Record<string, TestPod>> = {
  "image defaults": pod("Pod", "plain.pod", undefined, "containers: [{ name: web, image: nginx:1.25 }]"),
  "probes, hooks and variables": pod(
    "Deployment",
    "db",
    "shop",
    `
serviceAccountName: robot
hostname: primary
containers:
  - name: db
    image: postgres:16
    args: ["-c", "listen_addresses=$(POD_IP)", "$$(POD_IP)", "$(PGDATA)", "$(KUBERNETES_SERVICE_HOST)", "$(MISSING)"]
    tty: true
    env:
      - { name: FIRST, value: "1" }
      - { name: SECOND, value: "$(FIRST)-$(THIRD)-$$(FIRST)" }
      - { name: THIRD, value: "3" }
      - { name: LANG, value: C }
      - { name: EMPTY }
      - { name: FIRST, value: "$(FIRST)1" }
      - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
      - { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
      - { name: POD_UID, valueFrom: { fieldRef: { fieldPath: metadata.uid } } }
      - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
      - { name: POD_IPS, valueFrom: { fieldRef: { fieldPath: status.podIPs } } }
      - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
      - { name: ACCOUNT, valueFrom: { fieldRef: { fieldPath: spec.serviceAccountName } } }
      - { name: LABEL, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }
      - { name: MEMORY, valueFrom: { resourceFieldRef: { resource: limits.memory } } }
      - { name: PASSWORD, valueFrom: { secretKeyRef: { name: db, key: password } } }
      - { name: MAYBE, valueFrom: { configMapKeyRef: { name: db, key: maybe, optional: true } } }
      - { name: URL, value: "postgres://$(POD_NAME).$(POD_NAMESPACE)/$(PASSWORD)" }
    startupProbe: { exec: { command: [pg_isready, -h, "$(FIRST)", "$(POD_IP)"] } }
    livenessProbe: { exec: { command: [pg_isready] } }
    readinessProbe: { exec: { command: [sh, -c, "pg_isready && echo $(POD_NAME)"] } }
    lifecycle:
      postStart: { exec: { command: [touch, "$(FIRST)"] } }
      preStop: { exec: { command: [pg_ctl, stop] } }
`,
  ),
  "volumes of all kinds": pod(
    "StatefulSet",
    "store",
    "shop",
    `
automountServiceAccountToken: false
securityContext: { fsGroup: 2000 }
containers:
  - name: store
    image: postgres:16
    env:
      - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
      - { name: AREA, value: north }
    volumeMounts:
      - { name: scratch, mountPath: /scratch }
      - { name: scratch, mountPath: /again, readOnly: true }
      - { name: disk, mountPath: /part, subPathExpr: "$(AREA)/$(POD_NAME)" }
      - { name: memory, mountPath: /dev/shm }
      - { name: config, mountPath: /etc/app/ }
      - { name: config, mountPath: /etc/app/inner.conf, subPath: inner.conf }
      - { name: secret, mountPath: /secret }
      - { name: labels, mountPath: /labels }
      - { name: all, mountPath: /all }
      - { name: host, mountPath: /host, mountPropagation: HostToContainer }
      - { name: kvm, mountPath: /dev/kvm, readOnly: true }
      - { name: claim, mountPath: /claim }
      - { name: disk, mountPath: /var/lib/postgresql/data }
      - { name: template, mountPath: /template }
    volumeDevices:
      - { name: raw, devicePath: /dev/raw-disk }
volumes:
  - { name: scratch, emptyDir: {} }
  - { name: memory, emptyDir: { medium: Memory } }
  - { name: config, configMap: { name: app } }
  - { name: secret, secret: { secretName: app } }
  - { name: labels, downwardAPI: { items: [] } }
  - { name: all, projected: { sources: [] } }
  - { name: host, hostPath: { path: /var/log } }
  - { name: kvm, hostPath: { path: /dev/kvm } }
  - { name: claim, persistentVolumeClaim: { claimName: claim, readOnly: true } }
  - { name: disk, persistentVolumeClaim: { claimName: disk } }
`,
  ),
  "users, groups and capabilities": pod(
    "DaemonSet",
    "agent",
    "kube-system",
    `
shareProcessNamespace: true
enableServiceLinks: false
securityContext:
  runAsUser: 1001
  fsGroup: 3000
  supplementalGroups: [4000, 5000]
  sysctls: [{ name: net.core.somaxconn, value: "1024" }]
containers:
  - name: shared-user
    image: nginx:1.25
    command: [nginx]
    workingDir: /work
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
  - name: own-user
    image: nginx:1.25
    securityContext:
      runAsUser: 1002
      runAsGroup: 1003
      procMount: Unmasked
      capabilities: { add: [NET_ADMIN, SYS_TIME], drop: [NET_RAW, SYS_TIME] }
  - name: privileged
    image: nginx:1.25
    envFrom: [{ prefix: MAP_, configMapRef: { name: map } }]
    securityContext: { runAsUser: 0, privileged: true }
`,
  ),
  "an init container, a native sidecar and an image's user": pod(
    "CronJob",
    "report",
    "batch",
    `
restartPolicy: Never
initContainers:
  - { name: init, image: busybox, command: [sh, -c, "true"] }
  - { name: sidecar, image: busybox, restartPolicy: Always, command: [sleep], args: [inf], startupProbe: { exec: { command: ["true"] } } }
containers:
  - { name: report, image: registry.example.com:5000/team/app, volumeMounts: [{ name: out, mountPath: /out }] }
volumes:
  - { name: out, emptyDir: {} }
`,
  ),
};

/** What the cluster chooses for a pod. */
export function clusterFor({ kind, name, namespace }: PolicySubject, runtime: Runtime = "go-shim"): Cluster {
  return {
    podName: podNameOf({ kind, name }),
    namespace: namespace ?? "default",
    uid: "eb1495ed-331a-44ff-ad6d-fce1a69280cd",
    passwdGroup: (uid) => uid,
    rootGroups: [10],
    runtime,
    containerd: runtime === "go-shim" ? "1.6" : "2",
  };
}

export function testPod(name: string): TestPod {
  const pod = PODS[name];
  if (pod === undefined) throw new Error(`no pod ${name}`);
  return pod;
}

export function requestsFor(name: string): {
  readonly all: PodRequests;
  readonly sandboxContainer: ContainerRequests;
  readonly last: ContainerRequests;
  readonly byName: (container: string) => ContainerRequests;
} {
  const { subject, spec } = testPod(name);
  const all = podRequests(spec, IMAGES, clusterFor(subject));
  const byName = (container: string): ContainerRequests => {
    const found = all.containers.find((candidate) => candidate.name === container);
    if (found === undefined) throw new Error(`no container ${container}`);
    return found;
  };
  return { all, sandboxContainer: byName(""), last: byName(spec.containers.at(-1)?.name ?? ""), byName };
}
