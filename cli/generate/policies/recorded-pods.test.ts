import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { policyOf } from "../../../policy/policy.ts";
import { demoPods } from "./test-demo.ts";
import { lifeOf, play } from "../../../policy/test-life.ts";
import { isAllowed, NO_OPA, startEngine } from "../../../policy/test-opa.ts";
import { clusterFor, IMAGES } from "../../../policy/test-pods.ts";
import { type PodRequests, podRequests } from "../../../policy/test-requests.ts";

/** Ids, names, annotations and cgroups as containerd and both of Kata's shims gave them to pods of the demo. */

const VECTORS = join(import.meta.dirname, "../../../../shared/vectors/kata");
const SHIMS = ["go-shim", "runtime-rs"] as const;
const IMAGE_NAME = "io.kubernetes.cri.image-name";

const available = existsSync(VECTORS);
const missing = "there is no folder ../shared/vectors beside the checkout";
if (!available || NO_OPA !== undefined) test.skip(`recorded pods run under their policies: ${NO_OPA ?? missing}`);
else
  describe.each(SHIMS)("by the ids and names that %s gave them", (shim) => {
    test("pods of the demo run under their policies", async () => {
      const pods = Object.entries(await demoPods()).map(([name, pod]) => ({ name, ...pod, key: name.split(" ")[1] }));
      const recorded = await readRecorded(shim);
      const known = pods.filter(({ key = "" }) => recorded.has(key));
      expect(known.map(({ key }) => key)).toEqual(["coordinator", "emoji", "web"]);
      const engine = await startEngine(
        Object.fromEntries(known.map(({ name, subject, spec }) => [name, policyOf(subject, spec, IMAGES)])),
      );
      try {
        const lives = known.map(({ name, key = "", subject, spec }) => {
          const requests = recorded.get(key) ?? new Map<string, Loose>();
          const { OCI } = requests.get("sandbox");
          const cluster = {
            ...clusterFor(subject),
            podName: OCI.Annotations["io.kubernetes.cri.sandbox-name"] as string,
            namespace: OCI.Annotations["io.kubernetes.cri.sandbox-namespace"] as string,
          };
          return [name, lifeOf(asRecorded(podRequests(spec, IMAGES, cluster), requests))] as const;
        });
        const asked = await play(engine, Object.fromEntries(lives));
        for (const { name } of known) {
          expect(asked[name]?.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what)).toEqual([]);
          expect(asked[name]?.length).toBeGreaterThan(6);
        }
      } finally {
        await engine.stop();
      }
    });
  });

// oxlint-disable-next-line typescript/no-explicit-any -- read from files
type Loose = any;

/** By the workload and the container, which is `sandbox` for the first. */
async function readRecorded(shim: string): Promise<ReadonlyMap<string, ReadonlyMap<string, Loose>>> {
  const all = new Map<string, Map<string, Loose>>();
  for (const file of (await readdir(join(VECTORS, shim))).toSorted()) {
    const [workload = "", container = ""] = file.split(".");
    const requests = all.get(workload) ?? new Map<string, Loose>();
    requests.set(container, JSON.parse(await readFile(join(VECTORS, shim, file), "utf8")));
    all.set(workload, requests);
  }
  return all;
}

/** The requests of a pod, with what was recorded of it in its place. */
function asRecorded({ sandbox, containers }: PodRequests, recorded: ReadonlyMap<string, Loose>): PodRequests {
  const sandboxId: string = recorded.get("sandbox").container_id;
  const ownSandboxId: string = sandbox.request.sandbox_id;
  return {
    sandbox: {
      ...sandbox,
      request: { ...sandbox.request, sandbox_id: sandboxId, hostname: recorded.get("sandbox").OCI.Hostname },
    },
    containers: containers.map((container) => {
      const withPod = JSON.stringify(container).replaceAll(ownSandboxId, sandboxId);
      const other = recorded.get(container.name === "" ? "sandbox" : container.name);
      // The recorded Coordinator had no init container.
      const id: string = other?.container_id ?? container.id;
      const copy = JSON.parse(withPod.replaceAll(container.id, id)) as typeof container;
      if (other === undefined) return copy;
      const { request } = copy.create;
      const image: unknown = request.OCI.Annotations[IMAGE_NAME];
      request.exec_id = other.exec_id;
      request.OCI.Hostname = other.OCI.Hostname;
      request.OCI.Linux.CgroupsPath = other.OCI.Linux.CgroupsPath;
      request.OCI.Annotations = other.OCI.Annotations;
      // Those were of a registry on the machine that recorded them.
      if (image === undefined) delete request.OCI.Annotations[IMAGE_NAME];
      else request.OCI.Annotations[IMAGE_NAME] = image;
      return copy;
    }),
  };
}
