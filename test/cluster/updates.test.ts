import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isMap, parseAllDocuments } from "yaml";
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

  test("the Coordinator gets a new image, on the same volume, and is recovered", async () => {
    const file = join("deployment", "coordinator.yml");
    const image = await nextImage("coordinator");
    const old = await shell.read(file);
    await shell.write(join("deployment", "coordinator-next.yml"), successor(old, image));
    await shell.run(`${GENERATE}
contrast set -c "$(${COORDINATOR})" deployment/
kubectl delete statefulset coordinator
kubectl wait --for=delete pod/coordinator-0 --timeout=60s
kubectl apply -f simulated-tee.json -f deployment/coordinator-next.yml
kubectl wait --for=jsonpath='{.status.phase}'=Running pod/coordinator-next-0 --timeout=120s
until contrast recover -c "$(${COORDINATOR})"; do sleep 1; done
contrast verify -c "$(${COORDINATOR})"
kubectl rollout restart deployment/server && kubectl rollout status deployment/server --timeout=120s`);
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

/** The Coordinator's StatefulSet under another name, with the volume of the first. */
function successor(text: string, image: string): string {
  const [set] = parseAllDocuments(text);
  if (set === undefined || !isMap(set.contents)) throw new Error("there is no StatefulSet");
  set.setIn(["metadata", "name"], "coordinator-next");
  set.deleteIn(["spec", "volumeClaimTemplates"]);
  // `generate` adds those of the software TEE again.
  const state = { name: "state", persistentVolumeClaim: { claimName: "state-coordinator-0" } };
  set.setIn(["spec", "template", "spec", "volumes"], [state]);
  set.setIn(["spec", "template", "spec", "containers", 0, "image"], image);
  return String(set);
}
