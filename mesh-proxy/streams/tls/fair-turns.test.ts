import { setImmediate as turn } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { FairTurns } from "./fair-turns.ts";

function start(): {
  readonly turns: FairTurns;
  /** Of the work that was done. */
  readonly order: string[];
  /** Work that takes so long by the clock of the test. */
  readonly work: (name: string, costMs: number) => () => void;
  readonly clock: { now: number };
} {
  const clock = { now: 0 };
  const order: string[] = [];
  const work = (name: string, costMs: number) => () => {
    order.push(name);
    clock.now += costMs;
  };
  return { turns: new FairTurns({ clock: () => clock.now }), order, work, clock };
}

async function allTurns(): Promise<void> {
  for (let i = 0; i < 10; i++) await turn();
}

test("where nobody waits, work is done at once", () => {
  const { turns, order, work } = start();
  expect(turns.open("a").run(1_000, work("one", 1))).toBeUndefined();
  expect(order).toEqual(["one"]);
});

test("others on the event loop have their turn after each chain", async () => {
  const { turns, order, work } = start();
  const bills = [1, 2, 3].map((n) => turns.open(`source ${n}`));
  for (const bill of bills) bill.run(2_000, work("chain", 250));
  let seen = 0;
  expect(order).toHaveLength(1);
  await turn();
  seen = order.length;
  await turn();
  expect([seen, order.length]).toEqual([2, 3]);
});

test("a source that has cost nothing comes before those that have, however many wait", async () => {
  const { turns, order, work } = start();
  for (let source = 0; source < 4; source++) {
    for (let i = 0; i < 10; i++) turns.open(`attacker ${source}`).run(12_000, work("attack", 250));
  }
  turns.open("good").run(1_300, work("good", 2));
  await turn();
  expect(order.slice(0, 2)).toEqual(["attack", "good"]);
});

test("of many sources that have cost nothing, who has the least to verify comes first", async () => {
  const { turns, order, work } = start();
  for (let source = 0; source < 200; source++) turns.open(`attacker ${source}`).run(12_000, work("attack", 250));
  turns.open("good").run(1_300, work("good", 2));
  await turn();
  expect(order.slice(0, 2)).toEqual(["attack", "good"]);
});

test("what is long has half of the time, of however many sources, and what is short does not wait for it", async () => {
  const { turns, order, work, clock } = start();
  for (let source = 0; source < 3; source++) turns.open(`attacker ${source}`).run(12_000, work("attack", 250));
  clock.now += 200;
  await turn();
  expect(order).toEqual(["attack"]);
  turns.open("good").run(1_300, work("good", 2));
  await turn();
  expect(order).toEqual(["attack", "good"]);
  clock.now += 50;
  await vi.waitUntil(() => order.length > 2);
  expect(order).toEqual(["attack", "good", "attack"]);
});

test("for what fails a source gets a quarter of the time and no more", async () => {
  const { turns, clock } = start();
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  try {
    let done = 0;
    const again = (): void => {
      turns.open("attacker").run(12_000, () => {
        clock.now += 250;
        done++;
      });
    };
    for (let i = 0; i < 200; i++) again();
    while (clock.now < 20_000) {
      await turn();
      const before = clock.now;
      vi.advanceTimersByTime(10);
      clock.now = Math.max(clock.now, before + 10);
    }
    expect(done * 250).toBeGreaterThan(20_000 / 8);
    expect(done * 250).toBeLessThan(20_000 / 4 + 1_000);
  } finally {
    vi.useRealTimers();
  }
});

test("what succeeded is not held against its source", async () => {
  const { turns, order, work } = start();
  for (let i = 0; i < 20; i++) {
    const bill = turns.open("good");
    bill.run(12_000, work("good", 250));
    await allTurns();
    bill.settle();
    expect(order).toHaveLength(i + 1);
  }
});

test("work that is taken back is not done", async () => {
  const { turns, order, work } = start();
  turns.open("a").run(1, work("first", 10));
  const takeBack = turns.open("a").run(1, work("second", 10));
  expect(turns.waiting).toBe(1);
  takeBack?.();
  expect(turns.waiting).toBe(0);
  await allTurns();
  expect(order).toEqual(["first"]);
});

test("work that fails costs its source what it took, and holds up nobody", async () => {
  const { turns, order, work, clock } = start();
  const fail = (): void => {
    clock.now += 250;
    throw new Error("of the test");
  };
  expect(() => turns.open("a").run(1, fail)).toThrow("of the test");
  turns.open("b").run(1, work("next", 1));
  await allTurns();
  expect(order).toEqual(["next"]);
});
