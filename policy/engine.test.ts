import { describe, expect, test } from "vitest";
import { beyondEngine, ENGINE_LIMITS } from "./engine-limits.ts";
import { policyOf } from "./policy.ts";
import { NO_REGORUS, type Reply, startRegorus } from "./test-regorus.ts";
import { lifeOf, type Step } from "./test-life.ts";
import { clusterFor, IMAGES, testPod } from "./test-pods.ts";
import { podRequests } from "./test-requests.ts";

/** What is of the agent's own engine alone: which policies it takes, and what it tells of a refusal. */

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

const SMALL = "package agent_policy\n";

const LIMITS: readonly (readonly [what: string, taken: string, refused: string])[] = [
  [
    "lines",
    `${SMALL}# ${"x".repeat(ENGINE_LIMITS.lineBytes - 3)}\n`,
    `${SMALL}x := "${"x".repeat(ENGINE_LIMITS.lineBytes)}"\n`,
  ],
  [
    "texts",
    `${SMALL}x := "${"x".repeat(ENGINE_LIMITS.lineBytes - 8)}"\n`,
    `${SMALL}x := "${"x".repeat(ENGINE_LIMITS.lineBytes - 7)}"\n`,
  ],
  [
    "policies of many lines",
    SMALL + "\n".repeat(ENGINE_LIMITS.lines - 2),
    SMALL + "\n".repeat(ENGINE_LIMITS.lines - 1),
  ],
  ["policies", sized(ENGINE_LIMITS.bytes), sized(ENGINE_LIMITS.bytes + 1)],
];

test("a policy is refused that the engine does not take", () => {
  for (const [what, taken, refused] of LIMITS) {
    expect(beyondEngine(taken), what).toBe(undefined);
    expect(beyondEngine(refused), what).toMatchObject({ got: expect.stringMatching(/\d/) as string });
  }
  const secret = `${SMALL}  "args": ["${"s3cret".repeat(20_000)}"]`;
  expect(JSON.stringify(beyondEngine(secret))).toMatch(/: args/);
  expect(JSON.stringify(beyondEngine(secret))).not.toContain("s3cret");
});

if (NO_REGORUS !== undefined) test.skip(`the agent's engine answers: ${NO_REGORUS}`);
else
  describe("the agent's engine", () => {
    test.each(LIMITS)(
      "takes %s up to the limit, and no longer ones",
      { timeout: 60_000 },
      async (_, taken, refused) => {
        await (await startRegorus({ taken })).stop();
        await expect(startRegorus({ refused })).rejects.toThrow(/exceeds/);
      },
    );

    test("does not take a policy that would allow everything", async () => {
      const rego = `${SMALL}default AllowRequestsFailingPolicy := true\n`;
      await expect(startRegorus({ rego })).rejects.toThrow("AllowRequestsFailingPolicy");
    });

    test.each<[string, string, (request: Loose) => void, RegExp]>([
      ["an id", "create db", (request) => (request.container_id = "x"), /the id is not 64 hexadecimal digits/],
      [
        "a variable",
        "create db",
        (request) => request.OCI.Process.Env.push("LD_PRELOAD=s3cret"),
        /container db has other OCI\.Process\.Env \(LD_PRELOAD\)$/,
      ],
      [
        "a value",
        "create db",
        (request) =>
          (request.OCI.Process.Env = request.OCI.Process.Env.map((text: string) =>
            text.replace("LANG=C", "LANG=s3cret"),
          )),
        /OCI\.Process\.Env \(LANG\)$/,
      ],
      [
        "arguments",
        "create db",
        (request) => request.OCI.Process.Args.push("s3cret"),
        /db has other OCI\.Process\.Args$/,
      ],
      [
        "a mount",
        "create db",
        (request) => request.OCI.Mounts.push({ destination: "/data", source: "/", type_: "bind", options: [] }),
        /OCI\.Mounts \(\/data\)$/,
      ],
      ["an image", "create db", (request) => (request.storages[0].source = "busybox"), /db has other storages$/],
      [
        "two fields",
        "create db",
        (request) => Object.assign(request.OCI.Process, { Cwd: "/x", NoNewPrivileges: true }),
        /OCI\.Process\.Cwd, OCI\.Process\.NoNewPrivileges$/,
      ],
      [
        "a pod's name",
        "create db",
        (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-name"] = "x"),
        /name or namespace of the pod/,
      ],
      [
        "a container's name",
        "create db",
        (request) => (request.OCI.Annotations["io.kubernetes.cri.container-name"] = "x"),
        /no container of the pod has this name/,
      ],
      [
        "the sandbox's mounts",
        "create ",
        (request) => request.OCI.Mounts.pop(),
        /sandbox has other OCI\.Mounts \(\/etc\/resolv\.conf\)$/,
      ],
      [
        "a container that is not there",
        "start db",
        (request) => (request.container_id = "0".repeat(64)),
        /no container with this id was created/,
      ],
      [
        "a command",
        "exec in db",
        (request) => (request.process.Args = ["s3cret"]),
        /none of a probe or hook.*does not permit exec/,
      ],
      ["a process's folder", "exec in db", (request) => (request.process.Cwd = "/x"), /the process has other Cwd$/],
      [
        "a second sandbox",
        "the sandbox",
        (request) => (request.sandbox_id = "x"),
        /CreateSandboxRequest is blocked by policy: .*sandbox_id/,
      ],
    ])("names what does not fit: %s", async (_, what, change, reason) => {
      const { subject, spec } = testPod("probes, hooks and variables");
      const rego = policyOf(subject, spec, IMAGES);
      const { message } = await lastReply(
        rego,
        changed(lifeOf(podRequests(spec, IMAGES, clusterFor(subject))), what, change),
      );
      expect(message).toMatch(reason);
      expect(message).not.toContain("s3cret");
      expect(message.length).toBeLessThan(300);
    });

    test("names the containers that have to start before", async () => {
      const { subject, spec } = testPod("an init container, a native sidecar and an image's user");
      const steps = lifeOf(podRequests(spec, IMAGES, clusterFor(subject))).filter(
        ({ what }) => !/(start|exec in) (init|sidecar)/.test(what),
      );
      const until = steps.findIndex(({ what }) => what === "start report");
      const { message } = await lastReply(policyOf(subject, spec, IMAGES), steps.slice(0, until + 1));
      expect(message).toMatch(/container report runs already, or has to wait for init, sidecar$/);
    });
  });

async function lastReply(rego: string, steps: readonly Step[]): Promise<Reply> {
  const engine = await startRegorus({ pod: rego });
  try {
    const replies = await engine.ask(steps.map(({ kind, request }) => ({ kind, request, policy: "pod" })));
    const last = replies.at(-1);
    expect(replies.slice(0, -1).filter(({ allowed }) => !allowed)).toEqual([]);
    expect(last?.allowed).toBe(false);
    if (last === undefined) throw new Error("no reply");
    return last;
  } finally {
    await engine.stop();
  }
}

/** A life until the request of this name, which is changed. */
function changed(steps: readonly Step[], what: string, change: (request: Loose) => void): Step[] {
  const until = structuredClone(steps.slice(0, steps.findIndex((step) => step.what === what) + 1));
  change(until.at(-1)?.request);
  return until;
}

function sized(bytes: number): string {
  const line = `# ${"x".repeat(997)}\n`;
  const whole = SMALL + line.repeat(Math.floor((bytes - SMALL.length) / line.length));
  return whole + "#".repeat(bytes - whole.length);
}
