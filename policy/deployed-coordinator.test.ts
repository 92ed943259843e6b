import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { type PodSpec, podTemplateSchema } from "../kubernetes/pod-spec.ts";
import { policyOf } from "./policy.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { RUNTIMES } from "./test-kubelet.ts";
import { lifeOf, play, type Step } from "./test-life.ts";
import { isAllowed } from "./test-opa.ts";
import { clusterFor, IMAGES, pinned } from "./test-pods.ts";
import { podRequests } from "./test-requests.ts";

/** The pod of deploy/coordinator.yml with its token, before the real engines. */

const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const subject = { kind: "Deployment", name: "coordinator", namespace: "shop", indexed: false };

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

function deployedPod(): PodSpec {
  const text = readFileSync(join(import.meta.dirname, "../deploy/coordinator.yml"), "utf8");
  const [deployment] = parseAllDocuments(text).map((document): Loose => document.toJS());
  const { spec } = podTemplateSchema.parse(deployment.spec.template);
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    container.image = pinned(container.image);
  }
  return spec;
}

if (NO_ENGINE !== undefined) test.skip(`the policy fits deploy/coordinator.yml: ${NO_ENGINE}`);
else
  describe.each(RUNTIMES)("of %s", (runtime) => {
    const spec = deployedPod();
    const life = (): Step[] => structuredClone(lifeOf(podRequests(spec, IMAGES, clusterFor(subject, runtime))));

    async function refused(steps: readonly Step[]): Promise<string[]> {
      const engine = await startEngine({ coordinator: policyOf(subject, spec, IMAGES) });
      try {
        const { coordinator = [] } = await play(engine, { coordinator: steps });
        return coordinator.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what);
      } finally {
        await engine.stop();
      }
    }

    const requestOf = (steps: readonly Step[], wanted: string): Loose =>
      steps.find(({ what }) => what === wanted)?.request;
    const mountsOf = (steps: readonly Step[], what: string): Loose[] => requestOf(steps, what).OCI.Mounts;

    test("the Coordinator gets its token, and no other container does", async () => {
      const steps = life();
      const token = mountsOf(steps, "create coordinator").filter(({ destination }) => destination === ACCOUNT);
      expect(token).toEqual([expect.objectContaining({ type_: "bind", options: ["rbind", "rprivate", "ro"] })]);
      expect(mountsOf(steps, "create static-rules").map(({ destination }) => destination)).not.toContain(ACCOUNT);
      expect(await refused(steps)).toEqual([]);

      const elsewhere = life();
      mountsOf(elsewhere, "create static-rules").push(...token);
      expect(await refused(elsewhere)).toContain("create static-rules");
    });

    test("nobody changes which peers a Coordinator trusts, where it looks for them, or its store", async () => {
      for (const variable of ["CONTRAST_PEERS=x:1", "CONTRAST_PEER_POLICIES=own", "CONTRAST_STATE_STORE=file"]) {
        const steps = life();
        const { Env } = requestOf(steps, "create coordinator").OCI.Process;
        const [name = ""] = variable.split("=");
        const index = Env.findIndex((text: string) => text.startsWith(`${name}=`));
        Env.splice(index === -1 ? Env.length : index, 1, variable);
        expect(await refused(steps), variable).toContain("create coordinator");
      }
    });
  });
