import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CrashRounds } from "./crash-rounds.ts";
import { createDeployment } from "./state-deployment.ts";

/** A few rounds of what `npm run soak` does a thousand times. */

const ROUNDS = 12;

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "crash-test-"));
});

afterAll(() => rmSync(directory, { recursive: true }));

test(
  "killed at any instant of a set or a recovery, it has the old state or the new one",
  { timeout: 120_000 },
  async () => {
    const seed = randomInt(2 ** 31);
    const rounds = await CrashRounds.start(await createDeployment(directory, "127.94.1.1"), directory, seed);
    for (let round = 1; round <= ROUNDS; round++) {
      await expect(rounds.round(), `round ${round} of seed ${seed}`).resolves.toBeUndefined();
    }
    await expect(rounds.finish(), `after the last round of seed ${seed}`).resolves.toBeUndefined();
    const { old, new: happened, answered, recoveries } = rounds.outcomes;
    expect(old + happened + answered + recoveries).toBe(ROUNDS);
  },
);
