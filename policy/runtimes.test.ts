import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type PodSpec, podTemplateSchema } from "../kubernetes/pod-spec.ts";
import { policyOf } from "./policy.ts";
import { permissionsOf } from "./permissions.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { type Runtime, RUNTIMES } from "./test-kubelet.ts";
import { lifeOf, play, type Step } from "./test-life.ts";
import { type Engine, isAllowed } from "./test-opa.ts";
import { clusterFor, IMAGES, pinned } from "./test-pods.ts";
import { podRequests } from "./test-requests.ts";

/** What the two runtimes of Kata, and releases of containerd, do in other ways than each other. */

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

const PODS: Readonly<Record<string, { readonly subject: Loose; readonly spec: PodSpec }>> = {
  plain: pod(
    { kind: "Pod", name: "a" },
    { allowPrivilegeEscalation: false },
    { livenessProbe: { exec: { command: ["true"] } } },
  ),
  privileged: pod({ kind: "Pod", name: "a" }, { privileged: true }),
  indexed: pod({ kind: "Job", name: "run", indexed: true }, {}, { args: ["$(JOB_COMPLETION_INDEX)"] }),
  cron: pod({ kind: "CronJob", name: "tick", indexed: true }, {}),
};

function pod(subject: object, securityContext: object, more: object = {}) {
  const container = { name: "main", image: pinned("nginx:1.25"), securityContext, ...more };
  const spec = podTemplateSchema.parse({ spec: { runtimeClassName: "contrast-cc", containers: [container] } }).spec;
  return { subject: { namespace: "shop", ...subject }, spec };
}

if (NO_ENGINE !== undefined) test.skip(`policies fit both runtimes: ${NO_ENGINE}`);
else
  describe.each(RUNTIMES)("of %s", (runtime) => {
    let engine: Engine;

    beforeAll(async () => {
      const policies = Object.entries(PODS).map(([name, { subject, spec }]) => [name, policyOf(subject, spec, IMAGES)]);
      const { subject, spec } = PODS["plain"] ?? never();
      const allowed = (allow: Loose) =>
        policyOf(subject, spec, IMAGES, { permissions: permissionsOf({ allow, deny: [] }) });
      engine = await startEngine({
        ...Object.fromEntries(policies),
        exec: allowed(["exec"]),
        shell: allowed(["debug-shell"]),
        silent: policyOf(subject, spec, IMAGES, { permissions: permissionsOf({ allow: [], deny: ["logs"] }) }),
      });
    });
    afterAll(() => engine.stop());

    /** Which requests of a pod's life are refused, if one or more are changed. */
    async function refused(name: string, change: (steps: Loose) => void = () => {}, policy = name): Promise<string[]> {
      const steps: Step[] = structuredClone(life(name, runtime));
      change(Object.fromEntries(steps.map((step) => [step.what, step.request as unknown])));
      const { [policy]: asked = [] } = await play(engine, { [policy]: steps });
      return asked.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what);
    }

    test.each(Object.keys(PODS))("all requests for a pod are allowed: %s", async (name) => {
      expect(await refused(name)).toEqual([]);
    });

    test("capabilities have CAP_ before their names or not, and none comes twice or in", async () => {
      const kinds = ["Bounding", "Effective", "Permitted"];
      const rename = (rename: (name: string) => string) => (steps: Loose) => {
        const { Capabilities } = steps["create main"].OCI.Process;
        for (const kind of kinds) Capabilities[kind] = Capabilities[kind].map(rename);
      };
      expect(
        await refused(
          "plain",
          rename((name) => name.replace("CAP_", "")),
        ),
      ).toEqual([]);
      expect(
        await refused(
          "plain",
          rename((name) => `CAP_${name.replace("CAP_", "")}`),
        ),
      ).toEqual([]);
      for (const wrong of ["CAP_CAP_CHOWN", "cap_chown", "SYS_ADMIN", "CAP_", "", "CHOWN "]) {
        expect(
          await refused(
            "plain",
            rename((name) => (/CHOWN/.test(name) ? wrong : name)),
          ),
        ).toContain("create main");
      }
      const twice = (steps: Loose) => steps["create main"].OCI.Process.Capabilities.Effective.push("CHOWN");
      expect(await refused("plain", twice)).toContain("create main");
    });

    test("the namespace of mounts has two names, that of cgroups may be there, and none is joined", async () => {
      const change = (change: (namespaces: Loose[]) => void) => (steps: Loose) =>
        change(steps["create main"].OCI.Linux.Namespaces);
      const mount = (list: Loose[]) => list.find(({ Type }) => Type === "mnt" || Type === "mount");
      for (const Type of ["mnt", "mount"]) {
        expect(
          await refused(
            "plain",
            change((list) => Object.assign(mount(list), { Type })),
          ),
        ).toEqual([]);
      }
      const cgroup = (Path: string) =>
        change((list) =>
          list.splice(0, list.length, ...list.filter(({ Type }) => Type !== "cgroup"), { Type: "cgroup", Path }),
        );
      expect(await refused("plain", cgroup(""))).toEqual([]);
      for (const path of ["/proc/1/ns/cgroup", "/run/x"])
        expect(await refused("plain", cgroup(path))).toContain("create main");
      const push = (Type: string) => change((list) => list.push({ Type, Path: "" }));
      for (const type of ["mnt", "mount", "user", "network", "pid", "time", ""]) {
        expect(await refused("plain", push(type)), type).toContain("create main");
      }
      const twice = change((list) => list.push({ Type: "cgroup", Path: "" }, { Type: "cgroup", Path: "" }));
      expect(await refused("plain", twice)).toContain("create main");
      expect(
        await refused(
          "plain",
          change((list) => Object.assign(mount(list), { Type: "cgroup" })),
        ),
      ).toContain("create main");
    });

    test("the process of a container may have no name, but none that runs beside it", async () => {
      const named = (what: string, name: (id: string) => string) => (steps: Loose) =>
        (steps[what].exec_id = name(steps[what].container_id));
      for (const name of [() => "", (id: string) => id]) {
        expect(await refused("plain", named("create main", name))).toEqual([]);
        expect(await refused("plain", named("exec in main", name))).toContain("exec in main");
      }
      expect(await refused("plain", (steps) => (steps["create main"].exec_id = "x"))).toContain("create main");
    });

    test("a probe may lose the ban on new privileges, and be killed sooner or later", async () => {
      const probe = (change: object) => (steps: Loose) => Object.assign(steps["exec in main"].process, change);
      for (const NoNewPrivileges of [false, true])
        expect(await refused("plain", probe({ NoNewPrivileges }))).toEqual([]);
      expect(await refused("indexed")).toEqual([]);
      for (const OOMScoreAdj of [-998, 0, 995]) expect(await refused("plain", probe({ OOMScoreAdj }))).toEqual([]);
      for (const change of [{ NoNewPrivileges: "no" }, { Terminal: true }, { Cwd: "/x" }, { Args: ["sh"] }]) {
        expect(await refused("plain", probe(change)), JSON.stringify(change)).toContain("exec in main");
      }
    });

    test("the sandbox writes to /sys where a container is privileged, and nowhere else", async () => {
      const access = (option: string) => (steps: Loose) => {
        const mount = steps["create "].OCI.Mounts.find(({ destination }: Loose) => destination === "/sys");
        mount.options = [...mount.options.filter((other: string) => other !== "ro" && other !== "rw"), option];
      };
      expect(await refused("privileged", access("rw"))).toEqual([]);
      expect(await refused("privileged", access("ro"))).toContain("create ");
      expect(await refused("plain", access("rw"))).toContain("create ");
    });

    test("cgroups have the node's options where a container is privileged, and only those", async () => {
      const options =
        (...names: string[]) =>
        (steps: Loose) => {
          const mount = steps["create main"].OCI.Mounts.find(
            ({ destination }: Loose) => destination === "/sys/fs/cgroup",
          );
          mount.options = [...mount.options.filter((name: string) => !/nsdelegate|recursiveprot/.test(name)), ...names];
        };
      expect(await refused("privileged", options("nsdelegate", "memory_recursiveprot"))).toEqual([]);
      expect(await refused("privileged", options())).toEqual([]);
      expect(await refused("privileged", options("exec"))).toContain("create main");
      expect(await refused("plain", options("nsdelegate"))).toContain("create main");
    });

    test("a pod of an Indexed Job has its own number, and the host name with it", async () => {
      const variable = (value: string) => (steps: Loose) => {
        const { Process } = steps["create main"].OCI;
        Process.Env = Process.Env.filter((name: string) => !name.startsWith("JOB_"));
        if (value !== "") Process.Env.push(`JOB_COMPLETION_INDEX=${value}`);
      };
      expect(await refused("indexed", variable("3"))).toContain("create main");
      expect(await refused("indexed", variable(""))).toContain("create main");
      expect(await refused("indexed", (steps) => (steps["the sandbox"].hostname = "run-3"))).toContain("create ");
      expect(await refused("plain", variable("0"))).toContain("create main");
    });

    test("containerd 1.6 mounts the sandbox's shared memory twice, and no other mount", async () => {
      const again =
        (what: string, destination: string, change: object = {}) =>
        (steps: Loose) => {
          const { Mounts } = steps[what].OCI;
          const mount = Mounts.find((other: Loose) => other.destination === destination);
          Mounts.push({ ...mount, ...change });
        };
      expect(await refused("plain", again("create ", "/dev/shm"))).toEqual([]);
      expect(await refused("plain", again("create ", "/dev/shm", { source: "/run" }))).toContain("create ");
      expect(await refused("plain", again("create ", "/proc"))).toContain("create ");
      expect(await refused("plain", again("create main", "/dev/shm"))).toContain("create main");
    });

    test("a pause image may state no user and no variables", async () => {
      const user = (UID: number) => (steps: Loose) =>
        Object.assign(steps["create "].OCI.Process, { User: { UID, GID: UID, AdditionalGids: [] }, Env: [] });
      for (const uid of [0, 65535]) expect(await refused("plain", user(uid))).toEqual([]);
      expect(await refused("plain", user(1000))).toContain("create ");
      const path = (steps: Loose) => (steps["create "].OCI.Process.Env = ["PATH=/tmp"]);
      expect(await refused("plain", path)).toContain("create ");
    });

    test("another command runs where the policy permits exec, as the container itself does", async () => {
      const probe = (change: object) => (steps: Loose) => Object.assign(steps["exec in main"].process, change);
      expect(await refused("plain", probe({ Args: ["sh"] }), "exec")).toEqual([]);
      for (const change of [
        { Terminal: true },
        { User: { UID: 1, GID: 1 } },
        { Cwd: "/x" },
        { Env: ["LD_PRELOAD=x"] },
      ]) {
        expect(await refused("plain", probe({ Args: ["sh"], ...change }), "exec")).toContain("exec in main");
      }
    });

    test("a terminal and input are for a debug-shell alone, and never for the container's own program", async () => {
      const shell = (steps: Loose) => {
        const { process } = steps["exec in main"];
        Object.assign(process, { Args: ["sh"], Terminal: true, Env: [...process.Env, "TERM=xterm"] });
      };
      expect(await refused("plain", shell, "shell")).toEqual([]);
      expect(await refused("plain", shell, "exec")).toContain("exec in main");
      const kinds = ["WriteStreamRequest", "CloseStdinRequest", "TtyWinResizeRequest"];
      const answers = async (policy: string, exec_id: string) => {
        const request = { container_id: "a", exec_id };
        return (await engine.ask(kinds.map((kind) => ({ kind, request, policy })))).map(isAllowed);
      };
      expect(await answers("shell", "x")).toEqual([true, true, true]);
      for (const name of ["", "a"]) expect(await answers("shell", name)).toEqual([false, false, false]);
      for (const policy of ["plain", "exec"]) expect(await answers(policy, "x")).toEqual([false, false, false]);
    });

    test("the host reads what programs print unless that is denied", async () => {
      const request = { container_id: "a", exec_id: "", len: 10 };
      const ask = async (policy: string) =>
        isAllowed((await engine.ask([{ kind: "ReadStreamRequest", request, policy }]))[0]);
      expect(await Promise.all(["plain", "exec", "silent"].map(ask))).toEqual([true, true, false]);
    });
  });

function life(name: string, runtime: Runtime): Step[] {
  const { subject, spec } = PODS[name] ?? never();
  const own = { ...clusterFor(subject, runtime) };
  if (subject.indexed === true) own.podName = subject.kind === "Job" ? "run-7-x7k2p" : "tick-29123456-7-x7k2p";
  // What its controller does.
  const hostname = own.podName.replace(/-x7k2p$/, "");
  const env = [{ name: "JOB_COMPLETION_INDEX", value: "7" }];
  const made: PodSpec =
    subject.indexed === true
      ? { ...spec, hostname, containers: spec.containers.map((container) => ({ ...container, env })) }
      : spec;
  return lifeOf(podRequests(made, IMAGES, own));
}

function never(): never {
  throw new Error("no such pod");
}
