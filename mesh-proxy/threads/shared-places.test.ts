import { once } from "node:events";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Gate } from "../../runtime/gate.ts";
import { partOf } from "./share.ts";
import { newCounters, SharedPlaces } from "./shared-places.ts";

test("two who share the counters let in whom one gate would let in", () => {
  const limits = { total: 5, perPeer: 3 };
  const act = fc.record({ by: fc.nat(1), source: fc.constantFrom("a", "b", "c"), isLeaving: fc.boolean() });
  fc.assert(
    fc.property(fc.array(act), (acts) => {
      const counters = newCounters();
      const places = [new SharedPlaces(limits, counters), new SharedPlaces(limits, counters)];
      const gate = new Gate(limits);
      const inside: (() => void)[] = [];
      for (const { by, source, isLeaving } of acts) {
        if (isLeaving) inside.shift()?.();
        else {
          const leave = places[by]?.enter(source);
          const leaveGate = gate.enter(source, () => {});
          expect(leave === undefined).toBe(leaveGate === undefined);
          // Leaving twice gives one place free.
          inside.push(() => [leave, leaveGate, leave].forEach((each) => each?.()));
        }
        for (const each of places) {
          expect([each.inside, each.mostOfOnePeer]).toEqual([gate.inside, gate.mostOfOnePeer]);
        }
      }
    }),
  );
});

test("threads that enter at the same time get no more places than there are, and no fewer", async () => {
  const counters = newCounters();
  const limits = { total: 50_000, perPeer: 30_000 };
  const url = new URL("./shared-places.ts", import.meta.url).href;
  const program = `const { parentPort, workerData } = require("node:worker_threads");
    import("${url}").then(({ SharedPlaces }) => {
      const places = new SharedPlaces(workerData.limits, workerData.counters);
      parentPort.once("message", () => {
        const entered = { a: 0, b: 0 };
        for (let i = 0; i < 80_000; i++) {
          const source = i % 2 === 0 ? "a" : "b";
          if (places.enter(source) !== undefined) entered[source]++;
        }
        parentPort.postMessage(entered);
      });
      parentPort.postMessage("ready");
    });`;
  const workers = Array.from(
    { length: 2 },
    () => new Worker(program, { eval: true, workerData: { limits, counters } }),
  );
  await Promise.all(workers.map(async (worker) => once(worker, "message")));
  const results = workers.map(async (worker) => {
    worker.postMessage("go");
    const [entered] = (await once(worker, "message")) as [{ a: number; b: number }];
    return entered;
  });
  const [one = { a: 0, b: 0 }, other = { a: 0, b: 0 }] = await Promise.all(results);
  expect(one.a + one.b + other.a + other.b).toBe(limits.total);
  expect(Math.max(one.a + other.a, one.b + other.b)).toBeLessThanOrEqual(limits.perPeer);
  expect(new SharedPlaces(limits, counters).inside).toBe(limits.total);
});

test("sources that share a counter have the room of one, so that none has more than its limit", () => {
  const places = new SharedPlaces({ total: 9, perPeer: 2 }, newCounters(1));
  const entered = ["a", "b", "c"].map((source) => places.enter(source) !== undefined);
  expect(entered).toEqual([true, true, false]);
});

test("the parts of a limit add up to it, and nobody is without", () => {
  const limit = fc.integer({ min: 64, max: 9_999_999 });
  fc.assert(
    fc.property(limit, limit, fc.integer({ min: 1, max: 64 }), (total, perPeer, threads) => {
      const parts = Array.from({ length: threads }, (_, index) => partOf({ total, perPeer }, { index, threads }));
      const sum = (of: "total" | "perPeer"): number => parts.reduce((sofar, part) => sofar + part[of], 0);
      expect([sum("total"), sum("perPeer")]).toEqual([total, perPeer]);
      expect(Math.min(...parts.map((part) => Math.min(part.total, part.perPeer)))).toBeGreaterThan(0);
    }),
  );
});
