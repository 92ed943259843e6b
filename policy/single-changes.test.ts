import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { type Change, changesOf } from "./test-changes.ts";
import { IGNORED } from "./test-ignored.ts";
import { type Asked, lifeOf, play } from "./test-life.ts";
import { type Engine, isAllowed, NO_OPA, startEngine } from "./test-opa.ts";
import { clusterFor, IMAGES, PODS } from "./test-pods.ts";
import { SET_UP } from "./test-set-up.ts";
import { podRequests } from "./test-requests.ts";

if (NO_OPA !== undefined) test.skip(`every single change of a request is refused: ${NO_OPA}`);
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

    test.each(Object.entries(PODS))("of the requests for a pod with %s", async (policy, { subject, spec }) => {
      const life = lifeOf(podRequests(spec, IMAGES, clusterFor(subject)));
      const { [policy]: steps = [] } = await play(engine, { [policy]: life });
      const accepted: string[] = [];
      for (const step of [...differentSteps(steps, policy), ...setUp(policy)]) {
        const changes = changesOf(step.request);
        const answers = await engine.ask(changes.map(({ request }) => ({ ...step, policy, request })));
        for (const [index, change] of changes.entries()) {
          if (!isAllowed(answers[index])) continue;
          const text = `${step.kind}${step.what === "create " ? " of the sandbox" : ""} ${describeChange(change)}`;
          const [what] = [...IGNORED].find(([, pattern]) => pattern.test(text)) ?? [];
          if (what === undefined) accepted.push(text);
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

function describeChange({ path, how, from, to }: Change): string {
  return `${path} ${how}: ${JSON.stringify(from)} -> ${JSON.stringify(to)}`;
}
