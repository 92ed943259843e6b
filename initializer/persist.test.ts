import { Writable } from "node:stream";
import { pino } from "pino";
import { expect, test } from "vitest";
import { EvidenceError } from "../attestation/error.ts";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { GaveUp, persist } from "./persist.ts";
import { SecretError } from "./secret-error.ts";

const noManifest = new RemoteError("no_manifest", "no manifest yet", true, {});
const unreachable = new ChannelError("unreachable", "nobody there");
const refused = new RemoteError("policy_not_allowed", "not listed", false, {});

/** Runs through the outcomes of the tries; waits are recorded and take no time. */
function setUp(outcomes: (Error | string)[], stop = new AbortController()) {
  const lines: string[] = [];
  const waits: number[] = [];
  const sink = new Writable({ write: (chunk: Buffer, _encoding, done) => (lines.push(chunk.toString()), done()) });
  const result = persist(
    async () => {
      const outcome = outcomes.shift() ?? "too many tries";
      if (outcome instanceof Error) throw outcome;
      return outcome;
    },
    { log: pino(sink), stop: stop.signal, random: () => 1, sleep: async (ms) => void waits.push(ms) },
  );
  return { result, lines, waits };
}

test("it tries until the Coordinator has a manifest, waiting longer each time, to half a minute", async () => {
  const { result, waits } = setUp([...Array.from({ length: 9 }, () => noManifest), "certificates"]);
  expect(await result).toBe("certificates");
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test("it writes one line for each change of what it waits for, not for each try", async () => {
  const { result, lines } = setUp([unreachable, unreachable, unreachable, noManifest, noManifest, unreachable, "done"]);
  await result;
  expect(lines.map((line) => (JSON.parse(line) as { code: string }).code)).toEqual([
    "unreachable",
    "no_manifest",
    "unreachable",
  ]);
});

test("it says which secret it waits for, whenever that is another one", async () => {
  const missing = (got: string) => new SecretError("secret_missing", "a template needs a secret", { got });
  const { result, lines } = setUp([missing("db"), missing("db"), missing("api"), noManifest, missing("api"), "done"]);
  expect(await result).toBe("done");
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg.split(" (")[1])).toEqual([
    "got db)",
    "got api)",
    undefined,
    "got api)",
  ]);
  const bad = new SecretError("malformed_secrets", "no secrets");
  await expect(setUp([bad]).result).rejects.toBe(bad);
});

test("it stays away as long as the Coordinator asks for, and its own time on top; never longer than a minute", async () => {
  const overloaded = (retryAfterMs: number) => new RemoteError("overloaded", "later", true, { retryAfterMs });
  const { result, waits } = setUp([overloaded(5000), overloaded(2 ** 32 - 1), unreachable, "certificates"]);
  await result;
  expect(waits).toEqual([5500, 61_000, 2000]);
});

test("a TEE that is busy is asked again", async () => {
  const busy = new EvidenceError("tee_busy", "later");
  expect(await setUp([busy, busy, "certificates"]).result).toBe("certificates");
});

test("a refusal ends it at once", async () => {
  const { result, waits } = setUp([unreachable, refused]);
  await expect(result).rejects.toBe(refused);
  expect(waits).toHaveLength(1);
});

test("an error that time does not mend ends it at once", async () => {
  const broken = new ChannelError("malformed_message", "garbage");
  await expect(setUp([broken]).result).rejects.toBe(broken);
});

test("told to stop, it gives up even in the middle of a try, and says what it waited for", async () => {
  const stop = new AbortController();
  const endless = persist(() => new Promise(() => undefined), {
    log: pino({ level: "silent" }),
    stop: stop.signal,
    random: Math.random,
    sleep: async () => undefined,
  });
  stop.abort();
  await expect(endless).rejects.toBeInstanceOf(GaveUp);
  await expect(setUp([noManifest], stop).result).rejects.toMatchObject({ code: "gave_up" });
});
