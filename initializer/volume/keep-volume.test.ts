import { expect, test } from "vitest";
import { ChannelError, RemoteError } from "../../channel/error.ts";
import type { Logger } from "../../runtime/log.ts";
import { VolumeError } from "./error.ts";
import { bringUpPatiently } from "./keep-volume.ts";

function patience(): { readonly said: string[]; readonly end: AbortController } & Parameters<
  typeof bringUpPatiently
>[1] {
  const said: string[] = [];
  const end = new AbortController();
  const log = { warn: (_: unknown, text: string) => said.push(text) } as unknown as Logger;
  return { said, end, log, stop: new AbortController().signal, timeUp: end.signal, random: () => 0 };
}

/** Fails with each in turn, then succeeds. */
function volume(...errors: readonly Error[]): { bringUp: () => Promise<void>; tries: () => number } {
  let tries = 0;
  const bringUp = async (): Promise<void> => {
    const error = errors[tries++];
    if (error !== undefined) throw error;
  };
  return { bringUp, tries: () => tries };
}

const empty = (): Error => new VolumeError("volume_not_formatted", "the disk is empty");

test("an owner is waited for, and that is said once", async () => {
  const patient = patience();
  const target = volume(empty(), empty());
  expect(await bringUpPatiently(target, patient)).toBe(true);
  expect(target.tries()).toBe(3);
  expect(patient.said).toEqual(["waiting: volume_not_formatted: the disk is empty"]);
});

test("a Coordinator that is away is waited for", async () => {
  const patient = patience();
  const away = [new ChannelError("unreachable", "nobody answers"), new RemoteError("needs_recovery", "later", true)];
  expect(await bringUpPatiently(volume(...away), patient)).toBe(true);
  expect(patient.said).toHaveLength(2);
});

test("what time does not change ends it", async () => {
  const failed = new VolumeError("volume_tool_failed", "cryptsetup failed");
  await expect(bringUpPatiently(volume(failed), patience())).rejects.toBe(failed);
  const refused = new RemoteError("policy_not_allowed", "no", false);
  await expect(bringUpPatiently(volume(refused), patience())).rejects.toBe(refused);
});

test("when time is up, it ends with what stood in the way", async () => {
  const patient = patience();
  patient.end.abort();
  await expect(bringUpPatiently(volume(empty()), patient)).rejects.toMatchObject({ code: "volume_not_formatted" });
});
