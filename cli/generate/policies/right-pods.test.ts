import { beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "../../../policy/policy.ts";
import { demoPods } from "./test-demo.ts";
import { type Asked, lifeOf, play } from "../../../policy/test-life.ts";
import { isAllowed, NO_OPA, opa, startEngine } from "../../../policy/test-opa.ts";
import { clusterFor, IMAGES, PODS } from "../../../policy/test-pods.ts";
import { podRequests } from "../../../policy/test-requests.ts";

/** The functions of Rego that policies use. The agent's engine has them in all its releases. */
const FUNCTIONS: ReadonlySet<string> = new Set(
  [
    "array.concat bits.and concat contains count endswith is_array is_number is_object is_string json.unmarshal",
    "object.get object.keys object.union regex.match sort split startswith substring trim_prefix trim_right trim_suffix",
    "assign eq equal gt gte internal.member_2 internal.member_3 lt lte minus neq",
  ].flatMap((names) => names.split(" ")),
);

if (NO_OPA !== undefined) test.skip(`pods run under their policies: ${NO_OPA}`);
else
  describe("under its own policy", () => {
    const demo = ["coordinator", "emoji", "vote-bot", "voting", "web"].map((name) => `demo ${name}`);
    let policies: Readonly<Record<string, string>>;
    let asked: Readonly<Record<string, readonly Asked[]>>;

    beforeAll(async () => {
      const pods = { ...PODS, ...(await demoPods()) };
      policies = mapValues(pods, ({ subject, spec }) => policyOf(subject, spec, IMAGES));
      const lives = mapValues(pods, ({ subject, spec }) => lifeOf(podRequests(spec, IMAGES, clusterFor(subject))));
      const engine = await startEngine(policies);
      try {
        asked = await play(engine, lives);
      } finally {
        await engine.stop();
      }
    });

    test.each([...Object.keys(PODS), ...demo])(
      "a pod runs from its first request to the restart of its containers: %s",
      (name) => {
        const refused = asked[name]?.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what);
        expect(refused).toEqual([]);
        expect(asked[name]?.length).toBeGreaterThan(6);
      },
    );

    test.each(["--v0-compatible", "--v1-compatible"])("the policies are Rego, also for %s", async (version) => {
      for (const rego of Object.values(policies)) await opa({ "policy.rego": rego }, ["check", version, "policy.rego"]);
    });

    test("the policies use nothing that the agent's engine has not", async () => {
      const all = JSON.parse(await opa({}, ["capabilities", "--current"])) as { builtins: readonly { name: string }[] };
      const known = { ...all, builtins: all.builtins.filter(({ name }) => FUNCTIONS.has(name)) };
      const rego = policyOf(
        { kind: "Pod", name: "a", namespace: undefined },
        { runtimeClassName: "", containers: [] },
        IMAGES,
      );
      const check = (text: string): Promise<string> =>
        opa({ "policy.rego": text, "known.json": JSON.stringify(known) }, [
          "check",
          "--capabilities=known.json",
          "policy.rego",
        ]);
      await check(rego);
      // A comprehension in the head of a rule is an error there, when the rule is used.
      expect(rego).not.toMatch(/^[^\s#].*:=.*\|/m);
      await expect(check(`${rego}x := time.now_ns()\n`)).rejects.toThrow("opa check");
    });
  });

function mapValues<From, To>(values: Readonly<Record<string, From>>, map: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]));
}
