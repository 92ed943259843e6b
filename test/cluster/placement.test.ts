import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { COORDINATOR, deploy, GENERATE, Shell } from "./deployment.ts";
import { httpServer, service, workload } from "./resources.ts";

/** Deployments beside each other, and pods in a namespace that admits only what the Pod Security level `restricted` allows. */

const RESTRICTED = {
  pod: { securityContext: { seccompProfile: { type: "RuntimeDefault" } } },
  container: {
    ports: [{ containerPort: 8080 }],
    securityContext: {
      runAsUser: 65532,
      runAsGroup: 65532,
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
    },
  },
};
/** Serves where it can read its key, as a user who is not root. */
const SCRIPT = `require("node:fs").readFileSync("/tls-config/key.pem"); ${httpServer(8080)}`;

/** The mesh proxy has the pod's address, and the application loopback. */
const BOUND = `require("node:fs").readFileSync("/tls-config/key.pem"); ${httpServer(8080, "127.0.0.1")}`;

describeOnCluster("namespaces", () => {
  let shop: Shell;
  let guarded: Shell;

  beforeAll(async () => {
    shop = await Shell.open("shop");
    guarded = await Shell.open("guarded", { "pod-security.kubernetes.io/enforce": "restricted" });
    const away = (name: string, annotations: Record<string, string>, script = SCRIPT): object =>
      moved("guarded", workload(name, { script, annotations, ...RESTRICTED }));
    await deploy(
      shop,
      [
        workload("local", {
          script: SCRIPT,
          annotations: { "servicemesh-egress": "bound#127.137.0.1:8081#bound.guarded:8080" },
        }),
        away("plain", {}),
        away("caller", { "servicemesh-egress": "web#127.137.0.1:8081#web:8080" }),
        away("bound", { "servicemesh-ingress": "", "servicemesh-ingress-mode": "bind" }, BOUND),
        moved("guarded", service("bound", { 8080: 8080 })),
      ],
      "--coordinator-namespace shop",
    );
  });

  afterAll(async () => {
    await shop.close();
    await guarded.close();
  });

  test.each(["plain", "caller", "bound"])(
    "%s gets certificates of a Coordinator in another one, and is restricted",
    async (name) => {
      await guarded.run(`kubectl rollout status deployment/${name} --timeout=120s`);
    },
  );

  test("a pod of one namespace calls one of the other", async () => {
    await shop.run("kubectl rollout status deployment/local --timeout=120s");
    const call = `kubectl exec deployment/local -c local -- node -e 'fetch("http://127.137.0.1:8081").then((r) => r.text()).then(console.log)'`;
    await expect.poll(async () => shop.run(call).catch(String), { timeout: 30_000 }).toBe("hello\n");
  });

  test("transparent ingress is not admitted there, and generate says so before", async () => {
    await guarded.run("mkdir -p deployment");
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    const resources = [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "guarded", labels } },
      moved("guarded", workload("open", { script: SCRIPT, annotations: { "servicemesh-ingress": "" }, ...RESTRICTED })),
    ];
    await guarded.write(
      "deployment/resources.json",
      JSON.stringify({ apiVersion: "v1", kind: "List", items: resources }),
    );
    expect(await guarded.run(`${GENERATE} 2>&1`)).toContain("[pod_security]");
    await guarded.run("kubectl apply -f simulated-tee.json -f deployment/");
    const events = async (): Promise<string> => guarded.run("kubectl get events -o jsonpath='{.items[*].message}'");
    await expect
      .poll(events, { timeout: 30_000 })
      .toMatch(/forbidden: violates PodSecurity "restricted:latest": .*NET_ADMIN/);
  });

  test("another deployment's Coordinator is not taken for this one's", async () => {
    const other = await Shell.open("other");
    try {
      await deploy(other, [workload("alone", { script: SCRIPT })]);
      await other.run("kubectl rollout status deployment/alone --timeout=120s");
      const address = await other.run(COORDINATOR);
      expect(await shop.fail(`contrast verify -c ${address}`)).toMatch(/^error: \w+: /m);
    } finally {
      await other.close();
    }
  });
});

function moved(namespace: string, resource: object): object {
  const { metadata } = resource as { metadata: object };
  return { ...resource, metadata: { ...metadata, namespace } };
}
