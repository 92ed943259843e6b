import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { lifeOf, play, type Step, withId } from "./test-life.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { apply, type Engine, isAllowed, type Question, type State } from "./test-opa.ts";
import { IMAGES, requestsFor, testPod } from "./test-pods.ts";
import { idOf } from "./test-mounts.ts";
import type { Request } from "./test-container.ts";

/**
 * The pod's id, which is a part of the paths of its volumes: it comes with the first request, and every other names the
 * same one. What the host may write to must never be a volume.
 */

const STORE = "volumes of all kinds";
const COPIES = "/run/kata-containers/shared/containers";
const [FILE, LINK] = [0o100755, 0o120777];

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

/** By such an id the folder of the pod's volumes would be the host's copy of a folder, called `x`. */
const COPY_LIKE = `${idOf("x")}-${idOf("x", 16)}-x`;
const WRONG_IDS = [
  COPY_LIKE,
  `${COPY_LIKE}/y`,
  "",
  "..",
  "x",
  idOf("x", 63),
  `${idOf("x")}0`,
  `${idOf("x")}\n`,
  `${idOf("x")}\u0000`,
  idOf("x").toUpperCase(),
  `../containers/${idOf("x")}`,
  `${idOf("x")}/rootfs`,
];

const copyTo = (path: string, file_mode = FILE): Request => {
  const symlink_target = file_mode === LINK ? "run.sh" : null;
  const request = { path, file_size: 1, file_mode, dir_mode: 0o755, uid: 0, gid: 0, offset: 0, symlink_target };
  return { kind: "CopyFileRequest", request };
};

/** Requests that name another pod. */
function withPodId<Value>(value: Value, id: string): Value {
  const escaped = JSON.stringify(id).slice(1, -1);
  const ownId = requestsFor(STORE).sandboxContainer.id;
  return JSON.parse(JSON.stringify(value).replaceAll(ownId, escaped)) as Value;
}

if (NO_ENGINE !== undefined) test.skip(`a pod's id is that of its sandbox: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    const { all, sandboxContainer, last } = requestsFor(STORE);
    let engine: Engine;

    beforeAll(async () => {
      const { subject, spec } = testPod(STORE);
      engine = await startEngine({ [STORE]: policyOf(subject, spec, IMAGES) });
    });
    afterAll(() => engine.stop());

    /** What is allowed of these requests, one after the other. */
    async function ask(...requests: readonly Request[]): Promise<boolean[]> {
      const steps: Step[] = requests.map((request) => ({ ...request, what: "" }));
      const { [STORE]: asked = [] } = await play(engine, { [STORE]: steps });
      return asked.map(({ answer }) => isAllowed(answer));
    }

    test("starts a container with its volumes, to which the host can't write", async () => {
      const steps = [all.sandbox, sandboxContainer.create, sandboxContainer.start, last.create, last.start];
      expect(await ask(...steps)).toEqual([true, true, true, true, true]);
      const volumes = last.create.request.storages
        .filter(({ driver }: Loose) => driver !== "image_guest_pull")
        .map(({ mount_point }: Loose) => mount_point as string);
      expect(volumes.length).toBeGreaterThan(2);
      const inside = [...volumes, `${COPIES}/${sandboxContainer.id}`].flatMap((path) => [path, `${path}/run.sh`]);
      const copies = inside.flatMap((path) => [copyTo(path), copyTo(path, LINK), copyTo(path, 0o040755)]);
      expect((await ask(...steps, ...copies)).slice(steps.length)).not.toContain(true);
    });

    test.each(WRONG_IDS)("takes no sandbox of the id %j", async (id) => {
      expect(await ask(withPodId(all.sandbox, id))).toEqual([false]);
    });

    test.each([...WRONG_IDS, idOf("another pod"), last.id])(
      "takes no container whose pod has the id %j, whatever was created before",
      async (id) => {
        const container = withPodId(last, id);
        const sandbox = withPodId(sandboxContainer, id);
        const folder = `${COPIES}/${id}/rootfs/local/scratch`;
        const attack = [container.create, container.start, copyTo(`${folder}/run.sh`), copyTo(`${folder}/link`, LINK)];
        for (const before of [
          [],
          [all.sandbox],
          [all.sandbox, sandboxContainer.create, sandboxContainer.start],
          [all.sandbox, sandbox.create, sandbox.start],
        ]) {
          const answers = await ask(...before, ...attack);
          expect(answers.slice(before.length, before.length + 2)).toEqual([false, false]);
        }
      },
    );

    test.each(WRONG_IDS)("takes no container whose pod has the id %j, whatever the sandbox was called", async (id) => {
      const sandbox = withPodId(sandboxContainer, id);
      const container = withPodId(last, id);
      const requests = [withPodId(all.sandbox, id), sandbox.create, sandbox.start, container.create, container.start];
      expect(await ask(...requests)).not.toContain(true);
    });

    test("takes no container before the sandbox", async () => {
      expect(await ask(sandboxContainer.create, last.create)).toEqual([false, false]);
      expect(await ask(all.sandbox, last.create, sandboxContainer.create, last.create)).toEqual([
        true,
        false,
        true,
        true,
      ]);
    });

    test("takes one sandbox container, whose id is that of the sandbox", async () => {
      const other = withId(sandboxContainer, idOf("another sandbox"));
      const named = structuredClone(other.create);
      named.request.OCI.Annotations["io.kubernetes.cri.sandbox-id"] = sandboxContainer.id;
      const steps = [all.sandbox, other.create, named, sandboxContainer.create, sandboxContainer.start];
      expect(await ask(...steps)).toEqual([true, false, false, true, true]);
      expect(await ask(all.sandbox, sandboxContainer.create, other.create, named)).toEqual([true, true, false, false]);
    });

    test("takes one sandbox, whatever it is like and whatever came in between", async () => {
      const destroy = { kind: "DestroySandboxRequest", request: {} };
      const others = [all.sandbox, withPodId(all.sandbox, idOf("another pod"))];
      const [first, ...life] = lifeOf(all);
      let state: State = {};
      for (const step of [first, ...life]) {
        const [answer, ...again] = await engine.ask(
          [step, ...(step === first ? [] : others)].map(
            (request) => ({ ...request, policy: STORE, state }) as Question,
          ),
        );
        expect(isAllowed(answer)).toBe(true);
        expect(again.map(isAllowed)).not.toContain(true);
        state = apply(state, answer);
      }
      expect(await ask(all.sandbox, destroy, ...others)).toEqual([true, true, false, false]);
      expect(await ask(destroy, ...others)).toEqual([true, false, false]);
      expect(await ask(all.sandbox, sandboxContainer.create, sandboxContainer.remove, ...others)).toEqual([
        true,
        true,
        true,
        false,
        false,
      ]);
    });

    test("creates, starts and writes nothing when the sandbox is destroyed", async () => {
      const [probe] = requestsFor("probes, hooks and variables").last.execs;
      expect(probe).toBeDefined();
      const before = [all.sandbox, sandboxContainer.create, sandboxContainer.start, last.create];
      const copy = copyTo(`${COPIES}/${last.id}-${idOf("x", 16)}-x`);
      const destroy = { kind: "DestroySandboxRequest", request: {} };
      const other = withId(last, idOf("other"));
      expect((await ask(...before, copy, other.create, last.start)).slice(-3)).toEqual([true, true, true]);
      expect((await ask(...before, destroy, copy, other.create, last.start, destroy)).slice(-4)).toEqual([
        false,
        false,
        false,
        true,
      ]);
    });

    test("takes the host name of the pod alone", async () => {
      const named = (hostname: string): Request => ({ ...all.sandbox, request: { ...all.sandbox.request, hostname } });
      expect(await ask(named(""), sandboxContainer.create)).toEqual([true, true]);
      for (const hostname of ["store-1", `${all.sandbox.request.hostname}x`, "x"]) {
        expect(await ask(named(hostname), sandboxContainer.create)).toEqual([true, false]);
      }
    });

    test("never takes an id twice", async () => {
      const before = [all.sandbox, sandboxContainer.create, last.create, last.start];
      const again = withId(last, idOf("again"));
      expect((await ask(...before, last.remove, last.create, again.create, again.start)).slice(4)).toEqual([
        true,
        false,
        true,
        true,
      ]);
      expect((await ask(...before, last.remove, last.remove, last.start, last.create)).slice(4)).toEqual([
        true,
        true,
        false,
        false,
      ]);
    });
  });
