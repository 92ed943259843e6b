import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { released, Shell } from "./deployment.ts";

/** The collateral proxy of a release in a namespace of level restricted, asked by a pod through its Service. */

const ASK = `
const ask = async (path) => {
  const response = await fetch("http://collateral-proxy.contrast-system.svc:8080" + path);
  return [response.status, await response.text()];
};
// Until the node has learnt of the Service.
for (let tries = 0; tries < 45 && !(await ask("/healthz").catch(() => undefined)); tries++) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
console.log(JSON.stringify([await ask("/healthz"), await ask("/example.com/secret"), await ask("/metrics")]));
`;

describeOnCluster("the collateral proxy", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("asking");
    await shell.run(`kubectl apply -f ${released("collateral-proxy.yml")}
kubectl rollout status -n contrast-system deployment/collateral-proxy --timeout=120s`);
  });

  afterAll(async () => {
    await shell.run(`kubectl delete -f ${released("collateral-proxy.yml")} --wait=false`);
    await shell.close();
  });

  test("answers pods of other namespaces, and asks nobody but the vendors", async () => {
    const image = /image: (\S+)/.exec(readFileSync(released("demo", "web.yml"), "utf8"))?.[1];
    await shell.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "asking", namespace: "asking" },
      spec: {
        restartPolicy: "Never",
        containers: [{ name: "asking", image, command: ["node", "--input-type=module", "-e", ASK] }],
      },
    });
    await shell.run("kubectl wait pod/asking --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s");
    const answers = JSON.parse(await shell.run("kubectl logs asking")) as [number, string][];
    const [health, stranger, metrics] = answers;
    expect(health?.[0]).toBe(200);
    expect(stranger?.[0]).toBe(404);
    expect(metrics?.[1]).toMatch(/^contrast_collateral_proxy_requests_total\{outcome="[a-z_]+"\} 1$/m);
  });
});
