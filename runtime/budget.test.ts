import fc from "fast-check";
import { expect, test } from "vitest";
import { Budget, budgetLimits } from "./budget.ts";

test("what is not there is not given, and what is given back is there again", () => {
  const budget = new Budget({ total: 100, perSource: 60 });
  const first = budget.reserve("a", 60);
  expect(budget.reserve("a", 1)).toBeUndefined();
  expect(budget.reserve("b", 41)).toBeUndefined();
  const second = budget.reserve("b", 40);
  expect(second?.resize(41)).toBe(false);
  expect(first?.resize(50)).toBe(true);
  expect(second?.resize(50)).toBe(true);
  first?.release();
  second?.release();
  expect([budget.used, budget.usedBy("a"), budget.usedBy("b")]).toEqual([0, 0, 0]);
});

test("a reservation that was given back takes nothing any more", () => {
  const budget = new Budget({ total: 100, perSource: 100 });
  const reservation = budget.reserve("a", 10);
  reservation?.release();
  reservation?.release();
  expect(reservation?.resize(5)).toBe(false);
  expect(budget.used).toBe(0);
});

test("no source has half", () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 2 ** 40 }), (total) => {
      expect(budgetLimits(total).perSource * 2).toBeLessThan(total);
    }),
  );
});

test("whatever is asked, no source and not all together have more than they may", () => {
  const ask = fc.record({ source: fc.constantFrom("a", "b", "c"), bytes: fc.nat(60), act: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(ask), (asks) => {
      const limits = { total: 100, perSource: 45 };
      const budget = new Budget(limits);
      const held: { source: string; reservation: NonNullable<ReturnType<Budget["reserve"]>> }[] = [];
      for (const { source, bytes, act } of asks) {
        if (act === 0) held.shift()?.reservation.release();
        else if (act === 1) held.at(-1)?.reservation.resize(bytes);
        else {
          const reservation = budget.reserve(source, bytes);
          if (reservation !== undefined) held.push({ source, reservation });
        }
        const sum = (of?: string): number =>
          held
            .filter((each) => of === undefined || each.source === of)
            .reduce((sofar, { reservation }) => sofar + reservation.bytes, 0);
        expect(budget.used).toBe(sum());
        expect(budget.used).toBeLessThanOrEqual(limits.total);
        for (const each of ["a", "b", "c"]) {
          expect(budget.usedBy(each)).toBe(sum(each));
          expect(sum(each)).toBeLessThanOrEqual(limits.perSource);
        }
      }
    }),
  );
});
