import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SIDECARS } from "../sidecars.ts";
import { policyOf } from "../../../policy/policy.ts";
import { demoPods } from "./test-demo.ts";
import { play } from "../../../policy/test-life.ts";
import { NO_ENGINE, startEngine } from "../../../policy/test-engine.ts";
import { type Engine, isAllowed } from "../../../policy/test-opa.ts";
import { clusterFor, IMAGES, type TestPod } from "../../../policy/test-pods.ts";
import { podRequests } from "../../../policy/test-requests.ts";

/**
 * In which order a pod's containers start, whatever the host would like: the Initializer closes the ports of the pod, so
 * that nothing may start before it; and nothing that the mesh proxy guards starts before that.
 */

const FIRST = ["", "contrast-initializer", "contrast-mesh-proxy"];

if (NO_ENGINE !== undefined) test.skip(`containers start in their order: ${NO_ENGINE}`);
else
  describe.each(SIDECARS)("with a mesh proxy that is a sidecar of the kind %s", (sidecar) => {
    let engine: Engine;
    let pods: Readonly<Record<string, TestPod>>;

    beforeAll(async () => {
      const all = await demoPods(sidecar);
      pods = Object.fromEntries(
        Object.entries(all).filter(([, { spec }]) => spec.initContainers?.[0]?.name === "contrast-initializer"),
      );
      engine = await startEngine(
        Object.fromEntries(
          Object.entries(pods).map(([name, { subject, spec }]) => [name, policyOf(subject, spec, IMAGES)]),
        ),
      );
    });
    afterAll(() => engine.stop());

    test("no container starts before the Initializer, and none but that before the mesh proxy", async () => {
      expect(Object.keys(pods).length).toBeGreaterThan(2);
      for (const [name, { subject, spec }] of Object.entries(pods)) {
        const { sandbox, containers } = podRequests(spec, IMAGES, clusterFor(subject));
        const hasProxy = containers.some((container) => container.name === "contrast-mesh-proxy");
        const known = new Set(containers.map((container) => container.name));
        const needed = FIRST.filter((first) => known.has(first));
        expect(needed.length).toBe(hasProxy ? 3 : 2);
        // Every container, with each set of those that should be there before it.
        for (const container of containers.filter((candidate) => candidate.name !== "")) {
          const before = needed.slice(0, needed.includes(container.name) ? needed.indexOf(container.name) : undefined);
          for (let set = 0; set < 2 ** before.length; set++) {
            const started = before.filter((_, index) => (set & (1 << index)) !== 0);
            const steps = [
              sandbox,
              ...containers.map(({ create }) => create),
              ...containers.filter((candidate) => started.includes(candidate.name)).map(({ start }) => start),
              container.start,
            ];
            const { [name]: asked = [] } = await play(engine, { [name]: steps.map((step) => ({ ...step, what: "" })) });
            const isComplete = before.filter((first) => first !== "").every((first) => started.includes(first));
            expect(isAllowed(asked.at(-1)?.answer), `${name}: ${container.name} after ${started.join()}`).toBe(
              isComplete,
            );
          }
        }
      }
    });
  });
