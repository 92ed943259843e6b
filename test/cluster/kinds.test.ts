import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { httpServer, pod, workload } from "./resources.ts";

/** Every kind of workload that `generate` knows runs to where it has to get, with Initializer and mesh proxy. */

/** Ends well only with certificates of the mesh. */
const CHECK = `require("node:crypto").X509Certificate; new (require("node:crypto").X509Certificate)(require("node:fs").readFileSync("/tls-config/certChain.pem")); require("node:fs").readFileSync("/tls-config/key.pem")`;
const SERVER = { script: `${CHECK}; ${httpServer(8080)}`, annotations: { "servicemesh-ingress": "" } };
const TASK = { script: CHECK, annotations: { "servicemesh-egress": "web#127.137.0.1:8081#web:8080" } };

function job(name: string): { metadata: object; spec: object } {
  const { metadata, spec } = pod(name, TASK);
  return { metadata, spec: { ...spec, restartPolicy: "Never" } };
}

/** With all that an API server adds, or every `kubectl apply` says "configured". */
const CLAIM = {
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "data" },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "16Mi" } }, volumeMode: "Filesystem" },
  status: { phase: "Pending" },
};

const RESOURCES = [
  workload("a-deployment", { ...SERVER, spec: { replicas: 1 } }),
  workload("a-replicaset", { ...SERVER, kind: "ReplicaSet", spec: { replicas: 1 } }),
  workload("a-daemonset", { ...SERVER, kind: "DaemonSet" }),
  workload("a-statefulset", {
    ...SERVER,
    kind: "StatefulSet",
    script: `require("node:fs").writeFileSync("/data/kept", "yes"); ${SERVER.script}`,
    spec: { replicas: 1, serviceName: "a-statefulset", volumeClaimTemplates: [CLAIM] },
    container: {
      volumeMounts: [{ name: "data", mountPath: "/data" }],
      // A volume of the host's belongs to root.
      securityContext: { runAsUser: 0, capabilities: { drop: ["ALL"] } },
    },
  }),
  {
    apiVersion: "v1",
    kind: "ReplicationController",
    metadata: { name: "a-controller" },
    spec: { replicas: 1, selector: { app: "a-controller" }, template: pod("a-controller", SERVER) },
  },
  { apiVersion: "v1", kind: "Pod", ...named("a-pod", pod("a-pod", SERVER)) },
  {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "a-job" },
    spec: { backoffLimit: 0, template: job("a-job") },
  },
  {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "a-cronjob" },
    spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { backoffLimit: 0, template: job("a-cronjob") } } },
  },
];

function named(name: string, { metadata, spec }: { metadata: object; spec: object }): object {
  return { metadata: { ...metadata, name }, spec };
}

/**
 * What the server has of the files, without what it says of its own. `kubectl apply` can't be asked: it sends a
 * PodDisruptionBudget's selector each time, for its type has `patchStrategy: replace`, and calls that configured.
 */
async function stated(shell: Shell): Promise<object[]> {
  const text = await shell.run("kubectl get -o json -f deployment/ -f simulated-tee.json");
  const { items } = JSON.parse(text) as { items: { metadata: object }[] };
  const without = (fields: object, ...names: readonly string[]): object =>
    Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
  return items.map((item) => {
    const metadata = without(item.metadata, "resourceVersion", "managedFields");
    return { ...without(item, "status"), metadata };
  });
}

describeOnCluster("kinds of workloads", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("kinds");
    await deploy(shell, RESOURCES);
  });

  afterAll(async () => shell.close());

  test.each([
    ["Deployment", "kubectl rollout status deployment/a-deployment --timeout=120s"],
    ["ReplicaSet", "kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 replicaset/a-replicaset --timeout=120s"],
    ["DaemonSet", "kubectl rollout status daemonset/a-daemonset --timeout=120s"],
    ["StatefulSet with a claim", "kubectl rollout status statefulset/a-statefulset --timeout=120s"],
    [
      "ReplicationController",
      "kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 replicationcontroller/a-controller --timeout=120s",
    ],
    ["Pod", "kubectl wait --for=condition=Ready pod/a-pod --timeout=120s"],
    ["Job, which completes beside its mesh proxy", "kubectl wait --for=condition=Complete job/a-job --timeout=120s"],
    [
      "CronJob, whose job completes",
      "kubectl create job once --from=cronjob/a-cronjob && kubectl wait --for=condition=Complete job/once --timeout=120s",
    ],
  ])("%s", async (_, command) => {
    await shell.run(command);
  });

  test("a pod of a StatefulSet that is deleted comes again, with its data", async () => {
    await shell.run(`kubectl delete pod a-statefulset-0
kubectl rollout status statefulset/a-statefulset --timeout=120s`);
    expect(await shell.run('kubectl exec a-statefulset-0 -- node -p \'fs.readFileSync("/data/kept", "utf8")\'')).toBe(
      "yes\n",
    );
  });

  test("nothing is changed by applying the files again, nor by the server's own way of applying", async () => {
    const before = await stated(shell);
    await shell.run("kubectl apply -f deployment/ -f simulated-tee.json");
    expect(await stated(shell)).toEqual(before);
    expect(await shell.run("kubectl diff -f deployment/ -f simulated-tee.json")).toBe("");
    await shell.run("kubectl apply --server-side --force-conflicts -f deployment/ -f simulated-tee.json");
    expect(await shell.run("kubectl diff --server-side -f deployment/ -f simulated-tee.json")).toBe("");
  });
});
