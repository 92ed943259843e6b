import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { changesOf } from "./test-changes.ts";
import { describeChange, IGNORED, ignoredAs } from "./test-ignored.ts";
import { type Asked, lifeOf, play } from "./test-life.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { type Engine, isAllowed } from "./test-opa.ts";
import { RUNTIMES } from "./test-kubelet.ts";
import { clusterFor, IMAGES, PODS, testPod } from "./test-pods.ts";
import { SET_UP } from "./test-set-up.ts";
import { podRequests } from "./test-requests.ts";

if (NO_ENGINE !== undefined) test.skip(`every single change of a request is refused: ${NO_ENGINE}`);
else
  describe("every single change is refused", { timeout: 300_000 }, () => {
    let engine: Engine;
    const used = new Set<string>();

    beforeAll(async () => {
      engine = await startEngine(
        Object.fromEntries(
          Object.entries(PODS).map(([name, { subject, spec }]) => [name, policyOf(subject, spec, IMAGES)]),
        ),
      );
    });
    afterAll(() => engine.stop());

    const cases = RUNTIMES.flatMap((runtime) => Object.keys(PODS).map((policy) => [runtime, policy] as const));
    test.each(cases)("of the requests of %s for a pod with %s", async (runtime, policy) => {
      const { subject, spec } = testPod(policy);
      const life = lifeOf(podRequests(spec, IMAGES, clusterFor(subject, runtime)));
      const { [policy]: steps = [] } = await play(engine, { [policy]: life });
      const accepted: string[] = [];
      for (const step of [...differentSteps(steps, policy), ...setUp(policy)]) {
        const changes = changesOf(step.request);
        const answers = await engine.ask(changes.map(({ request }) => ({ ...step, policy, request })));
        for (const [index, change] of changes.entries()) {
          if (!isAllowed(answers[index])) continue;
          const what = ignoredAs(step, change);
          if (what === undefined) accepted.push(`${step.what} ${describeChange(change)}`);
          else used.add(what);
        }
      }
      expect(accepted).toEqual([]);
    });

    test("what sets up network and files is allowed as it is", async () => {
      const answers = await engine.ask(SET_UP.map((request) => ({ ...request, policy: "image defaults" })));
      expect(answers.map(isAllowed)).not.toContain(false);
    });

    test("the list of what is not checked has nothing in it that is checked", () => {
      expect([...IGNORED.keys()].filter((what) => !used.has(what))).toEqual([]);
    });
  });

/** The same for every pod. */
function setUp(policy: string): Asked[] {
  if (policy !== "image defaults") return [];
  return SET_UP.map((request) => ({ ...request, what: "", state: {}, answer: true }));
}

/** One of each, and the sandbox of one pod: the others' are the same. */
function differentSteps(steps: readonly Asked[], policy: string): Asked[] {
  const first = new Map(steps.toReversed().map((step) => [step.what, step]));
  for (const what of ["the sandbox", "create ", "start "]) if (policy !== "image defaults") first.delete(what);
  return [...first.values()].filter(({ kind }) => kind !== "RemoveContainerRequest");
}
