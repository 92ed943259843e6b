import { expect, test } from "vitest";
import type { Latest, LatestInsecure } from "./pointer.ts";
import { Standing } from "./standing.ts";

/** With a clock that stands until it is moved. Of pointers only number and digest are looked at. */

const pointer = (sequence: number, digest = `${sequence}`): LatestInsecure => {
  return { sequence, digest, raw: Buffer.from(digest) } as LatestInsecure;
};

function stand(changes: { hold?: boolean; shared?: boolean } = {}) {
  const clock = { now: 1000 };
  const { hold = false, shared = true } = changes;
  const monotonic = (): number => clock.now;
  const standing = new Standing(pointer(5) as Latest, { monotonic, confirmedAt: 1000, hold, shared });
  /** As time passes for who looks at it every second. */
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 1000) {
      clock.now += Math.min(1000, ms - passed);
      standing.wake();
    }
  };
  return { standing, clock, pass };
}

test("what the store has not confirmed for the bound is not served", () => {
  const { standing, pass } = stand();
  pass(15_000);
  expect(standing.obstacle).toBeUndefined();
  pass(1);
  expect(standing.obstacle).toBe("unconfirmed");
  standing.confirm(15_000);
  expect(standing.obstacle).toBeUndefined();
  expect(standing.unconfirmedMs).toBe(1001);
});

test("who was paused serves nothing until the store was asked anew, whatever was on its way from it", () => {
  const { standing, clock } = stand();
  clock.now += 3001;
  standing.confirm(1500);
  expect(standing.obstacle).toBe("unconfirmed");
  standing.rollBack(1500);
  expect(standing.obstacle).toBe("unconfirmed");
  standing.confirm(4001);
  expect(standing.obstacle).toBeUndefined();
});

test("a store of its own confirms nothing, and needs not", () => {
  const { standing, clock } = stand({ shared: false, hold: true });
  clock.now += 1e9;
  expect(standing.obstacle).toBeUndefined();
  expect(standing.unconfirmedMs).toBe(0);
});

test("what is new is held for a second, or until a peer has it", async () => {
  const { standing, pass } = stand({ hold: true });
  expect(standing.obstacle).toBe("held");
  pass(999);
  expect(standing.obstacle).toBe("held");
  pass(1);
  expect(standing.obstacle).toBeUndefined();

  const other = stand({ hold: true }).standing;
  const released = other.released();
  other.release();
  await released;
  expect(other.obstacle).toBeUndefined();
});

test("whoever waits for a peer does not, once something else is in force", async () => {
  const { standing } = stand({ hold: true });
  const released = standing.released();
  standing.move(pointer(6));
  await released;
  expect(standing.obstacle).toBe("moved");
});

test("a later pointer is in the way until it is here, also where the store still shows the one before", () => {
  const { standing, pass } = stand();
  standing.move(pointer(6));
  expect([standing.obstacle, standing.movedAt]).toEqual(["moved", 1000]);
  pass(1000);
  standing.confirm(2000);
  expect([standing.obstacle, standing.movedAt]).toEqual(["moved", 1000]);
  // Whoever made that one lives, and is waited for anew.
  standing.move(pointer(7));
  expect([standing.highest.sequence, standing.movedAt]).toEqual([7, 2000]);
  standing.move(pointer(6));
  expect([standing.highest.sequence, standing.movedAt]).toEqual([7, 2000]);
});

test("a pointer of another seed is in the way until the store shows the one in force again", () => {
  const { standing } = stand();
  standing.move(undefined);
  expect(standing.obstacle).toBe("moved");
  standing.confirm(1000);
  expect([standing.obstacle, standing.movedAt]).toEqual([undefined, undefined]);
});

test("an earlier pointer in the store changes nothing but that it is known", () => {
  const { standing } = stand();
  standing.rollBack(1000);
  expect([standing.obstacle, standing.isRolledBack]).toEqual([undefined, true]);
  standing.confirm(1000);
  expect(standing.isRolledBack).toBe(false);
});

test("two pointers with one number are two histories, for good, and are the proof for others", () => {
  const { standing } = stand();
  standing.move(pointer(6, "a"));
  expect(standing.forkProof).toEqual([]);
  standing.move(pointer(6, "b"));
  expect(standing.obstacle).toBe("forked");
  expect(standing.forkProof.map((raw) => raw.toString())).toEqual(["a", "b"]);
  standing.confirm(1000);
  standing.move(pointer(9));
  expect(standing.obstacle).toBe("forked");
  // Pointers of different numbers prove nothing to who has no chain.
  const other = stand().standing;
  other.split(pointer(5), pointer(3, "x"));
  expect([other.obstacle, other.forkProof]).toEqual(["forked", []]);
});
