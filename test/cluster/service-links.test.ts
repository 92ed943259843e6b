import { afterAll, beforeAll, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { httpServer, service, workload } from "./resources.ts";

/** For every Service, the kubelet sets variables in every container of its namespace, by the Service's name. */

const NAMES = [
  "contrast-ingress",
  "contrast-ingress-proxy",
  "contrast-admin",
  "contrast-egress",
  "contrast-tls",
  "contrast",
  "coordinator-host",
];

describeOnCluster("Services whose names make our variables", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("service-links");
    await shell.apply(...NAMES.map((name) => service(name, { 80: 8080 })));
    await deploy(shell, [
      workload("server", {
        script: httpServer(8080),
        annotations: { "servicemesh-ingress": "", "servicemesh-egress": "web#127.137.0.1:8081#web:8080" },
      }),
      workload("plain", { script: httpServer(8080) }),
    ]);
  });

  afterAll(async () => shell.close());

  test("Coordinator, Initializer and mesh proxy run all the same", async () => {
    await shell.run(`kubectl rollout status deployment/server --timeout=120s
kubectl rollout status deployment/plain --timeout=120s
kubectl rollout status deployment/coordinator --timeout=60s`);
  });
});
