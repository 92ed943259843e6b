import type { LookupAddress } from "node:dns";
import { expect, onTestFinished, test, vi } from "vitest";
import { type Lookup, Names } from "./names.ts";

const A = [{ address: "127.0.0.1", family: 4 }];
const B = [{ address: "127.0.0.2", family: 4 }];
const NO_ANSWER = Object.assign(new Error("no answer"), { code: "EAI_AGAIN" });

/** Names whose lookup gives these answers in turn; an error is thrown. */
function scripted(...answers: (readonly LookupAddress[] | Error | Promise<never>)[]): {
  names: Names;
  clock: { now: number };
  asked: () => number;
} {
  const clock = { now: 0 };
  let asked = 0;
  const lookup: Lookup = async () => {
    const answer = await answers[asked++];
    if (answer === undefined || answer instanceof Error) throw answer ?? new Error("asked too often");
    return answer;
  };
  return { names: new Names(lookup, () => new Date(clock.now)), clock, asked: () => asked };
}

test("a name is looked up for each connection", async () => {
  const { names } = scripted(A, B);
  expect(await names.addresses("web")).toEqual(A);
  expect(await names.addresses("web")).toEqual(B);
});

test.each([
  ["127.0.0.9", 4],
  ["::1", 6],
])("the address %s is not looked up", async (address, family) => {
  const { names, asked } = scripted();
  expect(await names.addresses(address)).toEqual([{ address, family }]);
  expect(asked()).toBe(0);
});

test("when DNS fails the last answer is good for a minute, and no longer", async () => {
  const { names, clock } = scripted(A, NO_ANSWER, NO_ANSWER);
  await names.addresses("web");
  clock.now = 60_000;
  expect(await names.addresses("web")).toEqual(A);
  clock.now = 60_001;
  await expect(names.addresses("web")).rejects.toBe(NO_ANSWER);
});

test("when DNS fails the last answer for another name is not used", async () => {
  const { names } = scripted(A, NO_ANSWER);
  await names.addresses("web");
  await expect(names.addresses("db")).rejects.toBe(NO_ANSWER);
});

test("when DNS does not answer the last answer is used before the connection is late", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const { names } = scripted(A, new Promise<never>(() => {}));
  await names.addresses("web");
  const addresses = names.addresses("web");
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await addresses).toEqual(A);
});

test("connections that are made at once ask once", async () => {
  const { names, asked } = scripted(A);
  expect(await Promise.all([names.addresses("web"), names.addresses("web")])).toEqual([A, A]);
  expect(asked()).toBe(1);
});
