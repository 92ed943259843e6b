import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { NO_HELM } from "../helm-program.ts";
import { COORDINATOR, released, RUNNING, Shell } from "./deployment.ts";

/** The Coordinator as a release of Helm, with `generate` as its post-renderer. */

describeOnCluster("charts", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("charts");
  });

  afterAll(async () => shell.close());

  test.skipIf(NO_HELM !== "")(`are installed, upgraded and uninstalled${NO_HELM}`, async () => {
    const render = `#!/bin/sh
cd "${shell.folder}" && exec contrast generate --reference-values simulated -`;
    await shell.write("render.sh", render);
    const chart = released("helm", "contrast-coordinator");
    const renderer = "--post-renderer ./render.sh";
    await shell.run(`chmod +x render.sh
helm install contrast-runtime ${released("helm", "contrast-runtime")} --set platform=simulated --take-ownership
helm install contrast ${chart} ${renderer}
kubectl apply -f simulated-tee.json
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator --timeout=60s
${RUNNING}
helm get manifest contrast >applied.yml
for try in $(seq 20); do contrast set -c "$(${COORDINATOR})" applied.yml && break; sleep 1; done
kubectl rollout status deployment/coordinator --timeout=120s
contrast verify -c "$(${COORDINATOR})"
helm upgrade contrast ${chart} ${renderer} --set service.annotations.example=yes
contrast verify -c "$(${COORDINATOR})"
helm uninstall contrast`);
    expect(await shell.kubectl("get", "deployments", "-o", "name")).toBe("");
  });
});
