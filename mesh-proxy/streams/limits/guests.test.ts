import { expect, test } from "vitest";
import { type Guest, Guests } from "./guests.ts";

const guest = (isPending: boolean, since = 0): Guest => ({ isPending, since, displace() {} });

function guests(...sources: readonly (readonly [source: string, guests: readonly Guest[]])[]): Guests {
  const all = new Guests();
  for (const [source, each] of sources) for (const one of each) all.add(source, one);
  return all;
}

test("of the source that has most, who is pending for longest goes first", () => {
  const [served, pending, later] = [guest(false), guest(true, 1), guest(true, 2)];
  const all = guests(["few", [guest(true)]], ["most", [served, pending, later]]);
  expect(all.ofLargest("new")).toBe(pending);
  all.remove("most", pending);
  expect(all.ofLargest("new")).toBe(later);
});

test("where nobody is pending, it is who came last", () => {
  const [first, last] = [guest(false), guest(false)];
  expect(guests(["most", [first, last]]).ofLargest("new")).toBe(last);
});

test("nobody goes for a source that would have as many as he has", () => {
  expect(guests(["a", [guest(true)]], ["b", [guest(true)]]).ofLargest("new")).toBeUndefined();
  const all = guests(["a", [guest(true), guest(true)]], ["b", [guest(true)]]);
  expect(all.ofLargest("b")).toBeUndefined();
  expect(all.ofLargest("a")).toBeUndefined();
  expect(new Guests().ofLargest("new")).toBeUndefined();
});

test("of its own source, who is pending has his time before he goes", () => {
  const slow = guest(true, 5_000);
  const all = guests(["a", [guest(false, 0), slow, guest(true, 5_500)]]);
  expect(all.slowestOf("a", 5_999)).toBeUndefined();
  expect(all.slowestOf("a", 6_000)).toBe(slow);
  expect(all.slowestOf("b", 6_000)).toBeUndefined();
});
