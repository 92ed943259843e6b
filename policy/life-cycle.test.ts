import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { play, untilLast, withId } from "./test-life.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { apply, type Engine, isAllowed } from "./test-opa.ts";
import { IMAGES, requestsFor, testPod } from "./test-pods.ts";
import { idOf } from "./test-mounts.ts";
import type { Request } from "./test-container.ts";
import type { ContainerRequests } from "./test-requests.ts";

/** What a policy remembers of the requests before. */

const DB = "probes, hooks and variables";
const JOB = "an init container, a native sidecar and an image's user";

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

if (NO_ENGINE !== undefined) test.skip(`a policy remembers what runs: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    let engine: Engine;

    beforeAll(async () => {
      const policies = [DB, JOB].map((name) => [name, policyOf(testPod(name).subject, testPod(name).spec, IMAGES)]);
      engine = await startEngine(Object.fromEntries(policies));
    });
    afterAll(() => engine.stop());

    /** The database, which runs, and what else a host may ask for then. */
    async function runningDb() {
      const { last: db, state: before } = await untilLast(engine, DB);
      const [probe] = db.execs;
      if (probe === undefined) throw new Error("no probe");
      let state = before;
      const allows = async (request: Request): Promise<boolean> => {
        const [answer] = await engine.ask([{ ...request, policy: DB, state }]);
        state = apply(state, answer);
        return isAllowed(answer);
      };
      expect(await allows(db.create)).toBe(true);
      expect(await allows(probe), "a probe of one that is not started").toBe(false);
      expect(await allows(db.start)).toBe(true);
      return { db, probe, allows, sandboxId: state["running:"] };
    }

    test("a container is started once at a time, and again when it is gone", async () => {
      const { db, probe, allows } = await runningDb();
      const twin = withId(db, idOf("twin"));
      const twinProbe = { ...probe, request: { ...probe.request, container_id: twin.id } };
      expect(await allows(db.create), "an id that is taken").toBe(false);
      expect(await allows(twin.create), "what may have failed before").toBe(true);
      expect(await allows(twin.start), "a second one beside the first").toBe(false);
      expect(await allows(db.start), "one that runs").toBe(false);
      expect(await allows(db.remove)).toBe(true);
      expect(await allows(db.start), "one that is gone").toBe(false);
      expect(await allows(probe), "a probe of one that is gone").toBe(false);
      expect(await allows(twin.start)).toBe(true);
      expect(await allows(twinProbe)).toBe(true);
    });

    test("nothing starts before what stands before it in the pod", async () => {
      const { all, sandboxContainer, byName } = requestsFor(JOB);
      const [init, sidecar, report] = ["init", "sidecar", "report"].map(byName) as [
        ContainerRequests,
        ContainerRequests,
        ContainerRequests,
      ];
      const steps: [Request, boolean][] = [
        [all.sandbox, true],
        [sandboxContainer.create, true],
        [sandboxContainer.start, true],
        [report.create, true],
        [sidecar.create, true],
        [init.create, true],
        [report.start, false],
        [sidecar.start, false],
        [init.start, true],
        [report.start, false],
        [sidecar.start, true],
        [report.start, true],
      ];
      const { [JOB]: asked = [] } = await play(engine, { [JOB]: steps.map(([step]) => ({ ...step, what: "" })) });
      expect(asked.map(({ answer }) => isAllowed(answer))).toEqual(steps.map(([, allowed]) => allowed));
    });

    test("nothing starts that was not created", async () => {
      const { sandboxContainer } = requestsFor(JOB);
      const { [JOB]: asked = [] } = await play(engine, { [JOB]: [{ ...sandboxContainer.start, what: "" }] });
      expect(asked.map(({ answer }) => isAllowed(answer))).toEqual([false]);
    });

    test("only the probes and hooks of a container run in it", async () => {
      const { db, probe, allows, sandboxId } = await runningDb();
      const changed = (change: (request: Loose) => void): Request => {
        const copy = structuredClone(probe);
        change(copy.request);
        return copy;
      };
      const none: string[] = [];
      const capabilities = (names: readonly string[]) => {
        return { Bounding: names, Effective: names, Permitted: names, Inheritable: none, Ambient: none };
      };
      const own = db.create.request.OCI.Process.Capabilities.Bounding as string[];
      expect(await allows(probe)).toBe(true);
      expect(await allows(changed(({ process }) => (process.Capabilities = capabilities(own))))).toBe(true);
      for (const change of [
        ({ process }: Loose) => (process.Args = ["sh"]),
        ({ process }: Loose) => (process.Args = ["postgres"]),
        ({ process }: Loose) => process.Args.push("--help"),
        ({ process }: Loose) => (process.Terminal = true),
        ({ process }: Loose) => (process.Capabilities = capabilities(["CAP_SYS_ADMIN"])),
        (request: Loose) => (request.container_id = idOf("other")),
        (request: Loose) => (request.container_id = sandboxId),
        (request: Loose) => (request.stdin_port = 1024),
        (request: Loose) => (request.exec_id = request.container_id),
        (request: Loose) => (request.exec_id = ""),
        (request: Loose) => (request.exec_id = "../x"),
      ]) {
        expect(await allows(changed(change)), String(change)).toBe(false);
      }
    });
  });
