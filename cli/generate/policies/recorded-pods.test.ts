import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "../../../policy/policy.ts";
import { changesOf } from "../../../policy/test-changes.ts";
import { NO_ENGINE, startEngine } from "../../../policy/test-engine.ts";
import { describeChange, ignoredAs } from "../../../policy/test-ignored.ts";
import { type Cluster, RUNTIMES } from "../../../policy/test-kubelet.ts";
import { type Asked, play, type Step } from "../../../policy/test-life.ts";
import { type Engine, isAllowed } from "../../../policy/test-opa.ts";
import { clusterFor, IMAGES } from "../../../policy/test-pods.ts";
import { type PodRequests, podRequests } from "../../../policy/test-requests.ts";
import { type Loose, NO_RECORDING, readRecorded, type Recorded } from "./test-recorded.ts";

const missing = NO_RECORDING ?? NO_ENGINE;
if (missing !== undefined) test.skip(`recorded pods run under their policies: ${missing}`);
else
  describe.each(RUNTIMES)("of the requests that %s made", (runtime) => {
    let engine: Engine;
    let recorded: readonly Recorded[];
    let asked: Readonly<Record<string, readonly Asked[]>>;

    beforeAll(async () => {
      recorded = await readRecorded(runtime);
      engine = await startEngine(
        Object.fromEntries(recorded.map((pod) => [pod.workload, policyOf(subjectOf(pod), pod.spec, IMAGES)])),
      );
      asked = await play(engine, Object.fromEntries(recorded.map((pod) => [pod.workload, stepsOf(pod)])));
    });
    afterAll(() => engine.stop());

    /** As they were recorded; those that were not, are made here. */
    function stepsOf(pod: Recorded): Step[] {
      const { sandbox, containers } = requestsOf(pod);
      return [
        { ...sandbox, what: "the sandbox" },
        ...containers.flatMap(({ name, create, start }) => [
          { ...create, request: pod.requests.get(name), what: `create ${name}` },
          { ...start, what: `start ${name}` },
        ]),
      ];
    }

    function requestsOf(pod: Recorded): PodRequests {
      const annotations = pod.requests.get("").OCI.Annotations;
      const cluster: Cluster = {
        ...clusterFor(subjectOf(pod), runtime),
        containerd: "1.6",
        rootGroups: [],
        podName: annotations["io.kubernetes.cri.sandbox-name"],
        namespace: annotations["io.kubernetes.cri.sandbox-namespace"],
        uid: annotations["io.kubernetes.cri.sandbox-uid"],
      };
      const requests = podRequests(pod.spec, IMAGES, cluster);
      return requests.containers.reduce<PodRequests>((all, { id, name }) => {
        const own: string = pod.requests.get(name).container_id;
        return JSON.parse(JSON.stringify(all).replaceAll(id, own)) as PodRequests;
      }, requests);
    }

    test("all are allowed", () => {
      expect(recorded.map(({ workload }) => workload)).toEqual(["coordinator", "emoji", "web", "z-exec"]);
      for (const { workload, requests } of recorded) {
        expect(asked[workload]?.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what)).toEqual([]);
        expect(asked[workload]?.length).toBe(1 + 2 * requests.size);
      }
    });

    test("those of the tests don't differ but in numbers that a node makes up", () => {
      for (const pod of recorded) {
        for (const { name, create } of requestsOf(pod).containers) {
          expect(plain(create.request), `${pod.workload}.${name}`).toEqual(plain(pod.requests.get(name)));
        }
      }
    });

    test("no single change is allowed", { timeout: 300_000 }, async () => {
      const steps = asked["z-exec"]?.filter(({ kind }) => kind === "CreateContainerRequest") ?? [];
      expect(steps.length).toBe(3);
      const accepted: string[] = [];
      for (const step of steps) {
        const changes = changesOf(step.request);
        const answers = await engine.ask(changes.map(({ request }) => ({ ...step, policy: "z-exec", request })));
        const allowed = changes.filter((change, index) => isAllowed(answers[index]) && !ignoredAs(step, change));
        accepted.push(...allowed.map((change) => `${step.what} ${describeChange(change)}`));
      }
      expect(accepted).toEqual([]);
    });
  });

function subjectOf({ workload, requests }: Recorded) {
  const { "io.kubernetes.cri.sandbox-namespace": namespace } = requests.get("").OCI.Annotations;
  const kind = workload === "coordinator" ? "StatefulSet" : "Deployment";
  return { kind, name: workload, namespace: namespace as string };
}

/** Without what the node makes up: numbers in names of copies, resources, and services; lists without an order in one. */
function plain(request: Loose): Loose {
  const text = JSON.stringify(request).replaceAll(/-[0-9a-f]{16}-/g, "-0123456789abcdef-");
  const copy: Loose = JSON.parse(text);
  const { Process, Linux, Annotations } = copy.OCI;
  for (const kind of ["Bounding", "Effective", "Permitted"]) Process.Capabilities[kind].sort();
  Process.Env = Process.Env.filter((variable: string) => !/_SERVICE_|_PORT[_=]/.test(variable)).toSorted();
  copy.OCI.Mounts.sort((a: Loose, b: Loose) => (a.destination < b.destination ? -1 : 1));
  const [image] = copy.storages;
  image.driver_options = image.driver_options.map((option: string) =>
    sorted(JSON.parse(option.replace(/^image_guest_pull=/, "")).metadata),
  );
  copy.OCI.Annotations = sorted(Annotations);
  Object.assign(Linux, { CgroupsPath: "", Resources: Object.keys(Linux.Resources).toSorted() });
  Object.assign(Process, { OOMScoreAdj: 0 });
  copy.OCI.Version = "";
  return copy;
}

function sorted(fields: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(fields)
    .filter(([name]) => !/sandbox-(?:cpu|memory)/.test(name))
    .map((field) => field.join())
    .toSorted();
}
