import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { pushProgram } from "../../cluster/images.ts";
import { describeOnCluster, LAYOUT } from "./cluster.ts";
import { released, Shell } from "./deployment.ts";

/** What users type: deployment, update of the manifest, recovery. */

const APPS = ["emoji", "voting", "web", "vote-bot"];

describeOnCluster("a user's walk-throughs", () => {
  let shell: Shell;

  /** Types commands with the variables that earlier ones have set. */
  const type = async (commands: string): Promise<string> =>
    shell.run(
      `{ [ ! -e .variables ] || . ./.variables; }\n${commands}\ndeclare -p coordinator frontendIP 2>/dev/null >.variables || true`,
    );
  const rollout = async (): Promise<string> =>
    type(APPS.map((name) => `kubectl rollout status deployment/${name} --timeout=120s`).join("\n"));

  /** An old pod is still a Service's end for a moment after the new one is ready. */
  const answers = async (ca: string): Promise<void> => {
    const page = async (): Promise<string> =>
      type(`curl -sS --cacert ${ca} "https://\${frontendIP}:443"`).catch((error: unknown) => String(error));
    await expect.poll(page, { timeout: 30_000, interval: 500 }).toContain("<html");
  };

  beforeAll(async () => {
    shell = await Shell.open("walk-throughs");
  });

  afterAll(async () => shell.close());

  test("the demo's file is downloaded, and made confidential as a user does", async () => {
    const from = `file://${released()}`;
    await type(`curl -fLO ${from}/emojivoto-demo.yml --create-dirs --output-dir deployment
curl -fLO ${from}/coordinator.yml --output-dir deployment`);
    const file = join("deployment", "emojivoto-demo.yml");
    const before = await shell.read(file);
    expect(before).not.toContain("contrast-cc");
    await shell.write(file, confidential(before));
  });

  test("generate, apply, set, verify", async () => {
    await type(`kubectl apply -f ${released("runtime-simulated.yml")}
contrast generate --reference-values simulated --image-replacements $RELEASE/image-replacements.txt deployment/
kubectl apply -f simulated-tee.json
kubectl apply -f deployment/
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator --timeout=60s
kubectl wait --for=jsonpath='{.status.phase}'=Running pod -l app.kubernetes.io/name=coordinator --timeout=120s
coordinator=$(kubectl get svc coordinator -o=jsonpath='{.status.loadBalancer.ingress[0].ip}')
contrast set -c "\${coordinator}:1313" deployment/
kubectl rollout status deployment/coordinator --timeout=120s`);
    await rollout();
    await type(`contrast verify -c "\${coordinator}:1313" -m manifest.json`);
  });

  test("a client trusts web by mesh-ca.pem alone, and curl refuses an address that no certificate has", async () => {
    await type(`frontendIP=$(kubectl get svc web-svc -o=jsonpath='{.status.loadBalancer.ingress[0].ip}')
openssl s_client -CAfile verify/mesh-ca.pem -verify_return_error -connect "\${frontendIP}:443" < /dev/null`);
    const refused = await shell.fail('. ./.variables; curl --cacert ./verify/mesh-ca.pem "https://${frontendIP}:443"');
    expect(refused).toMatch(/curl: \(60\) SSL: no alternative certificate subject name matches/);
  });

  test("the manifest is updated with the address, and curl works after a restart", async () => {
    const manifest = JSON.parse(await shell.read("manifest.json")) as {
      Policies: Record<string, { SANs: string[]; WorkloadSecretID?: string }>;
    };
    const address = (await type("echo $frontendIP")).trim();
    const web = Object.values(manifest.Policies).find(({ SANs }) => SANs.includes("web"));
    web?.SANs.push(address);
    await shell.write("manifest.json", JSON.stringify(manifest, undefined, 2));
    await type(`contrast set -c "\${coordinator}:1313" deployment/
kubectl rollout restart deployment/emoji
kubectl rollout restart deployment/vote-bot
kubectl rollout restart deployment/voting
kubectl rollout restart deployment/web`);
    await rollout();
    await answers("./mesh-ca.pem");
  });

  test("the vote-bot votes", async () => {
    const leaderboard = async (): Promise<string> =>
      type('curl -sS --cacert ./mesh-ca.pem "https://${frontendIP}:443/api/leaderboard"');
    await expect.poll(leaderboard, { timeout: 20_000 }).toMatch(/"votes":[1-9]/);
  });

  test("the port forwarder reaches the Coordinator where there is no load balancer", async () => {
    const forwarded = `kubectl wait --for=condition=Ready pod/port-forwarder-coordinator --timeout=60s
kubectl port-forward pod/port-forwarder-coordinator 1313 >forwarded & trap 'kill $!' EXIT
until grep -q Forwarding forwarded; do sleep 0.1; done
contrast verify -c 127.0.0.1:1313
kubectl delete pod port-forwarder-coordinator`;
    await shell.run(`kubectl apply -f ${released("port-forwarder.yml")}\n${forwarded}`);
    await pushProgram(LAYOUT, "/usr/bin/socat", "alpine/socat:latest");
    await shell.write("port-forwarder.yml", SOCAT);
    await shell.run(`kubectl apply -f port-forwarder.yml\n${forwarded}`);
  });

  test("all Coordinators were deleted: one is recovered, the others follow, and give back the manifest that was set", async () => {
    await type(`kubectl delete pod -l app.kubernetes.io/name=coordinator
kubectl wait --for=jsonpath='{.status.phase}'=Running pod -l app.kubernetes.io/name=coordinator --timeout=120s`);
    await expect
      .poll(async () => shell.fail('. ./.variables; contrast verify -c "${coordinator}:1313"'), { timeout: 60_000 })
      .toContain("needs_recovery");
    await type(`kubectl delete pod -l app.kubernetes.io/name=voting --wait=false`);
    await type(`contrast recover -c "\${coordinator}:1313"
kubectl rollout status deployment/coordinator --timeout=120s
contrast verify -c "\${coordinator}:1313"
kubectl rollout restart ${APPS.map((name) => `deployment/${name}`).join(" ")}`);
    await rollout();
    await answers("./verify/mesh-ca.pem");
  });
});

/** As people write one who have read about it elsewhere. */
const SOCAT = `apiVersion: v1
kind: Pod
metadata:
  name: port-forwarder-coordinator
spec:
  containers:
    - name: port-forwarder
      image: alpine/socat
      args: [-d, "TCP-LISTEN:1313,fork", "TCP:coordinator:1313"]
      resources:
        requests: { memory: 50Mi }
        limits: { memory: 50Mi }
`;

/** Class, resources and annotations, typed by hand. */
function confidential(text: string): string {
  const annotations: Record<string, Record<string, string>> = {
    emoji: { "servicemesh-ingress": "" },
    voting: { "servicemesh-ingress": "" },
    web: {
      "servicemesh-egress": "emoji#127.137.0.1:8081#emoji-svc:8080##voting#127.137.0.2:8081#voting-svc:8080",
      "servicemesh-ingress": "web#8080#false",
    },
  };
  const resources = { limits: { memory: "700Mi" }, requests: { memory: "700Mi" } };
  const documents = [...parseAllDocuments(text)];
  for (const document of documents) {
    if (document.get("kind") !== "Deployment") continue;
    document.setIn(["spec", "template", "spec", "runtimeClassName"], "contrast-cc");
    document.setIn(["spec", "template", "spec", "containers", 0, "resources"], resources);
    // On the Deployment, where the walk-through has them.
    for (const [name, value] of Object.entries(annotations[String(document.getIn(["metadata", "name"]))] ?? {})) {
      document.setIn(["metadata", "annotations", `contrast.edgeless.systems/${name}`], value);
    }
  }
  return documents.map(String).join("");
}
