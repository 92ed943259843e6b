import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SerialQueue } from "../runtime/serial-queue.ts";
import { outcomeOf, search, type Search } from "./model-checker.ts";

/** What is missing, for the names of the tests; empty: nothing. */
const missing = ["spin", "gcc"].filter((program) => !isInstalled(program)).map((program) => `, which needs ${program}`);
const NO_SPIN = missing.join("");

const history = (...defines: string[]): Search => ({ model: "history.pml", defines });
const secrecy = (...defines: string[]): Search => ({ model: "secrecy.pml", defines });

const CLOCK = ["CLOCK", "COORDINATORS=2", "POINTERS=3", "CRASHES=0", "SETS=1"];
const FIRST = ["FIRST", "COORDINATORS=2", "POINTERS=3", "CRASHES=1", "SETS=2"];
const CRASH = ["COORDINATORS=2", "POINTERS=4", "CRASHES=1", "SETS=2"];
const THREE = ["PROMPT", "COORDINATORS=3", "POINTERS=3", "CRASHES=1", "SETS=1"];
const HOSTILE = ["HOSTILE", "COORDINATORS=2", "POINTERS=4", "CRASHES=0", "SETS=2"];
const LIVE = ["LIVE", "PROMPT", "COORDINATORS=2", "POINTERS=6", "CRASHES=2", "SETS=1"];

/** What the design promises. */
const PROMISES: Record<string, Search> = {
  "two Coordinators and a clock, a store that delays": history(...CLOCK),
  "two Coordinators before the first set, a crash": history(...FIRST),
  "two Coordinators, a store that delays, a crash": history(...CRASH),
  "three Coordinators, a store that loses answers, a crash": history(...THREE),
  "two Coordinators, a store that lies": history(...HOSTILE),
  "somebody serves again after crashes": { ...history(...LIVE), formula: "serves" },
  "a host that plays peers, and a store that it wrote": secrecy(),
};

/** What goes wrong without one of the rules, by the variant of the model that lacks it. */
const BUGS: Record<string, [violated: string, Search]> = {
  BUG_NO_BOUND: ["issuedTooLate", history(...CLOCK)],
  BUG_BOUND_FROM_ANSWER: ["issuedTooLate", history(...CLOCK)],
  BUG_NO_HOLD: ["meshCaLost", history(...CRASH)],
  BUG_HOLD_ENDS_ON_ANSWER: ["meshCaLost", history(...CRASH)],
  BUG_RECOVERY_KEEPS_POINTER: ["twoMeshCas", history(...CRASH)],
  BUG_OLD_READ: ["falseAlarm", history(...CRASH)],
  BUG_SET_OVERTAKEN: ["wentBack", history(...CRASH)],
  BUG_TAKEOVER_WITHOUT_SWAP: ["setLost", history(...CRASH)],
  BUG_NO_TAKEOVER: ["acceptance cycle", { ...history(...LIVE), formula: "serves" }],
  BUG_NO_FORK_CHECK: ["servedFork", history(...HOSTILE)],
  BUG_FORK_BY_SEQUENCE: ["servedFork", history(...HOSTILE)],
  BUG_BACK_TO_OLDER: ["servedReplaced", history(...HOSTILE)],
  BUG_ACCEPT_BY_STORED_MANIFEST: ["hostSeedTaken", secrecy()],
  BUG_GIVE_BY_STORED_MANIFEST: ["seedLeaked", secrecy()],
  BUG_GIVE_TO_WORKLOAD: ["seedLeaked", secrecy()],
  BUG_UNBOUND_EVIDENCE: ["hostSeedTaken", secrecy()],
  BUG_REFLECTION: ["hostSeedTaken", secrecy()],
  BUG_DEBUG_GUEST: ["hostSeedTaken", secrecy()],
};

describe.skipIf(NO_SPIN !== "")(
  `the model of Coordinators that share a history${NO_SPIN}`,
  { timeout: 900_000 },
  () => {
    // Two searches at a time: each may take much memory.
    const queues = [new SerialQueue(), new SerialQueue()] as const;

    test.concurrent.each(Object.entries(PROMISES))("%s: no promise is broken", async (_, promise) => {
      const { violated, states } = await queues[0].run(() => search(promise));
      expect(violated).toBeUndefined();
      expect(states).toBeGreaterThan(1000);
    });

    test.concurrent.each(Object.entries(BUGS))("%s breaks one", async (bug, [broken, { defines, ...variant }]) => {
      const { violated } = await queues[1].run(() => search({ ...variant, defines: [...defines, bug] }));
      expect(violated).toBe(broken);
    });
  },
);

test("every rule that a variant of the model lacks is tried", () => {
  const models = ["history.pml", "secrecy.pml"].map((name) =>
    readFileSync(join(import.meta.dirname, "../docs/model", name), "utf8"),
  );
  const variants = new Set(models.join().match(/BUG_\w+/g));
  expect([...variants].sort()).toEqual(Object.keys(BUGS).sort());
});

test.each([
  ["that was cut short by its depth", "error: max search depth too small\n"],
  ["that was cut short by memory", "pan: reached -DMEMLIM bound\n"],
  ["that was not completed", "Warning: Search not completed\n"],
  ["that ended in another error", "pan:1: invalid end state (at depth 3)\n", "1"],
])("a search %s is no proof", (_, line, errors = "0") => {
  const said = (more: string, count: string): string =>
    `${more}Full statespace search for:\n\tassertion violations\t+\n` +
    `State-vector 20 byte, depth reached 9, errors: ${count}\n       12 states, stored\n`;
  expect(outcomeOf(said("", "0"), false)).toEqual({ violated: undefined, states: 12 });
  expect(() => outcomeOf(said(line, errors), false)).toThrow(/cut short|not completed|another kind/);
  expect(() => outcomeOf(line, false)).toThrow("no result");
});

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, [program === "spin" ? "-V" : "--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
