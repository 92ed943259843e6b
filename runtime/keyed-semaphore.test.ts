import fc from "fast-check";
import { expect, test } from "vitest";
import { KeyedSemaphore } from "./keyed-semaphore.ts";

/** Enters one after another; `inside` is who got in so far. */
function setUp(total: number, perPeer: number, waiting?: { total: number; perPeer: number }) {
  const gate = new KeyedSemaphore({ total, perPeer, ...(waiting === undefined ? {} : { waiting }) });
  const inside: string[] = [];
  const enter = (name: string, peer = name) => gate.enter(peer, () => inside.push(name));
  return { gate, inside, enter };
}

test("no more than the total get in, and one who leaves makes room", () => {
  const { inside, enter } = setUp(2, 2);
  const leave = enter("a");
  enter("b");
  expect(enter("c")).toBeUndefined();
  leave?.();
  expect(enter("c")).toBeDefined();
  expect(inside).toEqual(["a", "b", "c"]);
});

test("leaving twice makes room once", () => {
  const { enter } = setUp(2, 2);
  const leave = enter("a");
  enter("b");
  leave?.();
  leave?.();
  expect([enter("c"), enter("d")].map((left) => left !== undefined)).toEqual([true, false]);
});

test("one peer can't take all the room", () => {
  const { inside, enter } = setUp(4, 2);
  for (const name of ["a1", "a2", "a3"]) enter(name, "a");
  enter("b");
  expect(inside).toEqual(["a1", "a2", "b"]);
});

test("one peer can't take all the places of the queue", () => {
  const { gate, enter } = setUp(1, 1, { total: 3, perPeer: 2 });
  const queued = ["a1", "a2", "a3", "a4"].map((name) => enter(name, "a") !== undefined);
  expect(queued).toEqual([true, true, true, false]);
  expect(enter("b")).toBeDefined();
  expect(enter("c")).toBeUndefined();
  expect(gate.waiting).toBe(3);
});

test("peers take turns, each in its own order", () => {
  const { inside, enter } = setUp(1, 1, { total: 9, perPeer: 9 });
  const leaves = [enter("x")];
  for (const name of ["a1", "a2", "a3"]) leaves.push(enter(name, "a"));
  leaves.push(enter("b1", "b"), enter("b2", "b"));
  const byName = new Map(["x", "a1", "a2", "a3", "b1", "b2"].map((name, index) => [name, leaves[index]]));
  for (let index = 0; index < inside.length; index++) byName.get(inside[index] ?? "")?.();
  expect(inside).toEqual(["x", "a1", "b1", "a2", "b2", "a3"]);
});

test("a peer at its limit does not hold up the queue", () => {
  const { inside, enter } = setUp(3, 2, { total: 9, perPeer: 9 });
  const [, , leave] = [enter("a1", "a"), enter("a2", "a"), enter("b")];
  enter("a3", "a");
  enter("c");
  leave?.();
  expect(inside).toEqual(["a1", "a2", "b", "c"]);
});

test("one who leaves the queue is not let in", () => {
  const { gate, inside, enter } = setUp(1, 1, { total: 2, perPeer: 2 });
  const [first, second] = [enter("a"), enter("b")];
  second?.();
  first?.();
  expect([inside, gate.waiting]).toEqual([["a"], 0]);
});

test("whatever comes and goes: limits hold, nobody waits beside free room, and in the end everybody was let in", () => {
  const steps = fc.array(fc.record({ peer: fc.constantFrom("a", "b", "c"), leaves: fc.nat(20) }), { maxLength: 60 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 4 }), (arrivals, total, perPeer) => {
      const gate = new KeyedSemaphore({ total, perPeer, waiting: { total: 1000, perPeer: 1000 } });
      const inside: { peer: string; leave?: (() => void) | undefined }[] = [];
      let entered = 0;
      const check = (): void => {
        expect(inside.length).toBeLessThanOrEqual(total);
        for (const peer of ["a", "b", "c"]) {
          expect(inside.filter((visit) => visit.peer === peer).length).toBeLessThanOrEqual(perPeer);
        }
      };
      const leave = (index: number): void => inside.splice(index % inside.length, 1)[0]?.leave?.();
      for (const { peer, leaves } of arrivals) {
        const visit: (typeof inside)[number] = { peer };
        visit.leave = gate.enter(peer, () => {
          entered++;
          inside.push(visit);
        });
        check();
        if (leaves % 3 === 0 && inside.length > 0) leave(leaves);
        check();
        if (gate.waiting > 0 && inside.length < total) {
          const crowded = ["a", "b", "c"].filter(
            (name) => inside.filter((other) => other.peer === name).length === perPeer,
          );
          expect(crowded).not.toEqual([]);
        }
      }
      while (inside.length > 0) leave(0);
      expect([entered, gate.waiting]).toEqual([arrivals.length, 0]);
    }),
  );
});
