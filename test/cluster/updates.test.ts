import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { onNode } from "../../cluster/commands.ts";
import { buildahOf } from "../../cluster/images.ts";
import { REGISTRY } from "../../cluster/layout.ts";
import { describeOnCluster, LAYOUT } from "./cluster.ts";
import { COORDINATOR, deploy, GENERATE, Shell } from "./deployment.ts";
import { httpServer, workload } from "./resources.ts";

/** New images: of a workload, and of the Coordinator. */

describeOnCluster("updates", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("updates");
    await deploy(shell, [workload("server", { script: httpServer(8080), annotations: { "servicemesh-ingress": "" } })]);
    await shell.run("kubectl rollout status deployment/server --timeout=120s");
  });

  afterAll(async () => shell.close());

  test("a workload gets a new image: generate, set, apply", async () => {
    const image = await nextImage("emojivoto");
    await shell.write(
      "deployment/resources.json",
      (await shell.read("deployment/resources.json")).replace(/[^"]*\/emojivoto:[^"]*/, image),
    );
    await shell.run(`${GENERATE}
contrast set -c "$(${COORDINATOR})" deployment/
kubectl apply -f simulated-tee.json -f deployment/
kubectl rollout status deployment/server --timeout=120s`);
    const running = await shell.run(
      `kubectl get pods -l app=server --field-selector=status.phase=Running -o jsonpath='{.items[*].status.containerStatuses[?(@.name=="server")].imageID}'`,
    );
    // An old pod may still be on its way out.
    expect(running).toContain(image.split("@")[1]);
  });

  test("a pod whose policy the manifest does not list waits in its Initializer, and kubectl describe says why", async () => {
    const resource = workload("stranger", { script: httpServer(8080) });
    await shell.run("mkdir -p stranger && cp manifest.json manifest.before.json");
    await shell.write("stranger/resource.json", JSON.stringify(resource));
    await shell.run(`${GENERATE.replace("deployment/", "stranger/")} && mv manifest.before.json manifest.json
kubectl apply -f simulated-tee.json -f stranger/`);
    await expect
      .poll(async () => shell.run("kubectl describe pods -l app=stranger"), { timeout: 60_000, interval: 1000 })
      .toMatch(/Message: .*policy_not_allowed/s);
    await shell.run("kubectl delete -f stranger/");
  });

  test("the Coordinators get a new image one after the other, and nobody recovers", async () => {
    const file = join("deployment", "coordinator.yml");
    const image = await nextImage("coordinator");
    await shell.write(file, (await shell.read(file)).replace(/[^ ]*\/coordinator:[^\n]*/, image));
    await shell.run(`cp verify/mesh-ca.pem before.pem
${GENERATE}
contrast set -c "$(${COORDINATOR})" deployment/
cp mesh-ca.pem set.pem
kubectl apply -f simulated-tee.json -f deployment/coordinator.yml
kubectl rollout status deployment/coordinator --timeout=170s
contrast verify -c "$(${COORDINATOR})"`);
    // That of the set, and not one of a recovery.
    expect(await shell.read("verify/mesh-ca.pem")).toBe(await shell.read("set.pem"));
    expect(await shell.read("set.pem")).not.toBe(await shell.read("before.pem"));
    const running = await shell.run(
      `kubectl get pods -l app.kubernetes.io/name=coordinator --field-selector=status.phase=Running -o jsonpath='{.items[*].status.containerStatuses[0].imageID}'`,
    );
    expect(running).toContain(image.split("@")[1]);
    await shell.run(`${GENERATE} --drop-predecessors
contrast set -c "$(${COORDINATOR})" deployment/
kubectl rollout restart deployment/server && kubectl rollout status deployment/server --timeout=120s`);
    const { Policies } = JSON.parse(await shell.read("manifest.json")) as {
      Policies: Record<string, { Role?: string }>;
    };
    expect(Object.values(Policies).filter(({ Role }) => Role === "coordinator")).toHaveLength(1);
  });
});

/** An image of the registry with one more label, so that it is another one. @returns its reference, by digest */
async function nextImage(name: string): Promise<string> {
  const buildah = buildahOf(LAYOUT);
  const from = `${REGISTRY}/team/contrast/${name}:0.1.0`;
  const container = (await buildah("from", "-q", "--tls-verify=false", from)).trim();
  await buildah("config", "--label", "next=yes", container);
  await buildah("commit", "-q", "--rm", container, "next");
  const to = `${REGISTRY}/team/contrast/${name}:next`;
  await buildah("push", "-q", "--tls-verify=false", "next", `docker://${to}`);
  await buildah("rmi", "-f", "next");
  const inspect = await onNode("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", `docker://${to}`);
  return `${to}@${inspect.trim()}`;
}
