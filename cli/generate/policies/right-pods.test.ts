import { beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "../../../policy/policy.ts";
import { corpusPods, demoPods, imagesOf, renewingPod } from "./test-demo.ts";
import { type Asked, lifeOf, play } from "../../../policy/test-life.ts";
import { NO_ENGINE, startEngine } from "../../../policy/test-engine.ts";
import { isAllowed, NO_OPA, opa } from "../../../policy/test-opa.ts";
import { RUNTIMES } from "../../../policy/test-kubelet.ts";
import { clusterFor, IMAGES, PODS } from "../../../policy/test-pods.ts";
import { podRequests } from "../../../policy/test-requests.ts";

/** The functions of Rego that policies use. The agent's engine has them in all its releases. */
const FUNCTIONS: ReadonlySet<string> = new Set(
  [
    "array.concat array.reverse array.slice base64url.encode bits.and concat contains count endswith is_array is_number",
    "is_object is_string json.unmarshal object.get object.keys object.union print regex.match sort split startswith",
    "substring trim trim_prefix trim_right trim_suffix",
    "and assign eq equal gt gte internal.member_2 internal.member_3 internal.print lt lte minus neq or",
  ].flatMap((names) => names.split(" ")),
);

if (NO_ENGINE !== undefined) test.skip(`pods run under their policies: ${NO_ENGINE}`);
else
  describe.each(RUNTIMES)("under its own policy, with %s", (runtime) => {
    const demo = [
      ...["coordinator", "emoji", "vote-bot", "voting", "web"].map((name) => `demo ${name}`),
      "renewing web",
    ];
    let policies: Readonly<Record<string, string>>;
    let asked: Readonly<Record<string, readonly Asked[]>>;

    beforeAll(async () => {
      const pods = {
        ...PODS,
        ...(await demoPods()),
        "renewing web": await renewingPod("web"),
        ...(await corpusPods()),
      };
      const images = imagesOf(pods);
      policies = mapValues(pods, ({ subject, spec }) => policyOf(subject, spec, images));
      const lives = mapValues(pods, ({ subject, spec }) =>
        lifeOf(podRequests(spec, images, clusterFor(subject, runtime))),
      );
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

    test("a pod that renews its certificates may be asked by its probe, and no other pod's Initializer", () => {
      const execs = (name: string): number =>
        (asked[name] ?? []).filter(({ what }) => what === "exec in contrast-initializer").length;
      expect(execs("renewing web")).toBeGreaterThan(0);
      expect(execs("demo web")).toBe(0);
    });

    test("so do those of many other people", () => {
      const others = Object.entries(asked).filter(([name]) => name.startsWith("corpus "));
      expect(others.length).toBeGreaterThan(30);
      for (const [name, steps] of others) {
        expect(
          steps.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what),
          name,
        ).toEqual([]);
        expect(steps.length).toBeGreaterThan(6);
      }
    });
  });

if (NO_OPA !== undefined) test.skip(`the policies are Rego: ${NO_OPA}`);
else
  describe("to opa, the policies", () => {
    test.each(["--v0-compatible", "--v1-compatible"])("are Rego, also for %s", async (version) => {
      for (const { subject, spec } of Object.values({ ...PODS, ...(await demoPods()) })) {
        const rego = policyOf(subject, spec, IMAGES);
        await opa({ "policy.rego": rego }, ["check", version, "policy.rego"]);
      }
    });

    test("use nothing that the agent's engine has not", async () => {
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
      expect(rego).not.toMatch(/^[^\s#].*:=.* \| /m);
      await expect(check(`${rego}x := time.now_ns()\n`)).rejects.toThrow("opa check");
    });
  });

function mapValues<From, To>(values: Readonly<Record<string, From>>, map: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]));
}
