import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { httpServer, workload } from "./resources.ts";

/** Three Coordinators, of which one is lost: nobody recovers, and the mesh CA stays. */

const SELECTOR = "app.kubernetes.io/name=coordinator";

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly containerStatuses?: readonly { readonly ready: boolean }[] };
}

describeOnCluster("three Coordinators", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("three");
    await deploy(shell, [workload("server", { script: httpServer(8080), annotations: { "servicemesh-ingress": "" } })]);
    await shell.run("kubectl rollout status deployment/server --timeout=120s");
  });

  afterAll(async () => shell.close());

  /** Those that have not been asked to end. */
  async function pods(): Promise<readonly Pod[]> {
    const { items } = JSON.parse(await shell.kubectl("get", "pods", "-l", SELECTOR, "-o", "json")) as {
      items: readonly Pod[];
    };
    return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  const namesOf = (all: readonly Pod[]): string[] => all.map(({ metadata }) => metadata.name).toSorted();

  async function allReady(): Promise<readonly Pod[]> {
    const ready = async (): Promise<number> =>
      (await pods()).filter(({ status }) => status.containerStatuses?.[0]?.ready === true).length;
    await expect.poll(ready, { timeout: 120_000, interval: 500 }).toBe(3);
    return pods();
  }

  /** What one of them says, asked at its own pod. */
  async function meshCaOf(pod: string): Promise<string> {
    // Not as the first command, which is one with the change of the folder.
    return shell.run(`:
kubectl port-forward pod/${pod} :1313 >forwarded-${pod} & trap 'kill $!' EXIT
until grep -q Forwarding forwarded-${pod}; do sleep 0.1; done
address=$(sed -n 's/Forwarding from \\(127[^ ]*\\) .*/\\1/p' forwarded-${pod})
contrast verify -c "$address" >/dev/null
cat verify/mesh-ca.pem`);
  }

  async function meshCas(): Promise<string[]> {
    const found: string[] = [];
    for (const { metadata } of await allReady()) found.push(await meshCaOf(metadata.name));
    return [...new Set(found)];
  }

  test("have one mesh CA, and keep their history in ConfigMaps", async () => {
    expect(await meshCas()).toEqual([await shell.read("mesh-ca.pem")]);
    const maps = await shell.kubectl(
      "get",
      "configmaps",
      "-l",
      "app.kubernetes.io/managed-by=contrast-coordinator",
      "-o",
      "name",
    );
    expect(maps).toContain("configmap/coordinator-latest");
  });

  test("one that is deleted is ready again without people, with the same mesh CA", async () => {
    const before = await shell.read("mesh-ca.pem");
    const [victim] = await allReady();
    await shell.kubectl("delete", "pod", victim?.metadata.name ?? "");
    const names = namesOf(await allReady());
    expect(names).not.toContain(victim?.metadata.name);
    expect(await meshCas()).toEqual([before]);
  });

  test("two that are deleted at once come back by the third", async () => {
    const [first, second] = await allReady();
    await shell.kubectl("delete", "pod", first?.metadata.name ?? "", second?.metadata.name ?? "");
    expect(await meshCas()).toEqual([await shell.read("mesh-ca.pem")]);
  });

  test("an eviction takes one at a time", async () => {
    const [first, second] = namesOf(await allReady());
    const evict = (name: string): Promise<string> => {
      const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace: shell.namespace } };
      const path = `/api/v1/namespaces/${shell.namespace}/pods/${name}/eviction`;
      return shell.run(`echo '${JSON.stringify(eviction)}' | kubectl create --raw ${path} -f -`);
    };
    await evict(first ?? "");
    await expect(evict(second ?? "")).rejects.toMatchObject({ stderr: expect.stringMatching(/disruption budget/) });
    await allReady();
    await expect.poll(async () => evict(second ?? "").then(() => "done", String), { timeout: 60_000 }).toBe("done");
    expect(await meshCas()).toEqual([await shell.read("mesh-ca.pem")]);
  });

  test("a rolling restart of them, while pods enrol all the while, loses none", async () => {
    const before = namesOf(await allReady());
    await shell.run("kubectl rollout restart deployment/coordinator");
    let enrolled = 0;
    const over = shell.run("kubectl rollout status deployment/coordinator --timeout=170s").then(() => true);
    for (let isOver = false; !isOver; enrolled++) {
      await shell.run(
        "kubectl rollout restart deployment/server && kubectl rollout status deployment/server --timeout=60s",
      );
      isOver = await Promise.race([over, sleep(0, false)]);
    }
    expect(enrolled).toBeGreaterThan(1);
    const after = namesOf(await allReady());
    expect(after.filter((name) => before.includes(name))).toEqual([]);
    expect(await meshCas()).toEqual([await shell.read("mesh-ca.pem")]);
  });
});
