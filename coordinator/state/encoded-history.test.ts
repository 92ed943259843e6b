import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { GetManifestsResponseSchema } from "../../api/userapi_pb.ts";
import { EncodedHistory } from "./encoded-history.ts";
import { makeState, manifestOf, setRequest, type TestState } from "../test-deployment.ts";

const states: TestState[] = [];
afterEach(async () => {
  for (const state of states.splice(0)) await state.remove();
});

async function start(maxBytes = 2 ** 20) {
  const state = await makeState();
  states.push(state);
  const guard = await state.load();
  const counted = { reads: 0 };
  const history = new EncodedHistory(
    {
      active: () => guard.active(),
      history: () => {
        counted.reads += 1;
        return guard.history();
      },
    },
    maxBytes,
  );
  return { guard, history, counted };
}

test("it is read once for each transition, however many ask, and all get the same bytes", async () => {
  const { guard, history, counted } = await start();
  await guard.set(setRequest());
  const answers = await Promise.all(Array.from({ length: 100 }, () => history.read()));
  expect(new Set(answers).size).toBe(1);
  expect(counted.reads).toBe(1);
  await guard.set(setRequest({ names: ["next"] }, guard));
  const { history: records } = fromBinary(GetManifestsResponseSchema, (await history.read()).bytes);
  expect(records.map(({ manifest }) => Buffer.from(manifest))).toEqual([manifestOf(), manifestOf({ names: ["next"] })]);
  expect(counted.reads).toBe(2);
});

test("there is none before the first manifest, and what failed is tried again", async () => {
  const { guard, history } = await start();
  await expect(history.read()).rejects.toMatchObject({ code: "no_manifest" });
  await history.requireRoomFor([Buffer.alloc(1000)]);
  await guard.set(setRequest());
  expect((await history.read()).bytes.length).toBeGreaterThan(0);
});

test("a disk that fails once does not leave its failure behind", async () => {
  const { guard } = await start();
  await guard.set(setRequest());
  let fails = true;
  const history = new EncodedHistory(
    { active: () => guard.active(), history: () => (fails ? Promise.reject(new Error("the disk")) : guard.history()) },
    2 ** 20,
  );
  await expect(history.read()).rejects.toThrow("the disk");
  fails = false;
  expect((await history.read()).bytes.length).toBeGreaterThan(0);
});

test("a manifest that would make it longer than it may be is refused by name", async () => {
  const { guard, history } = await start(4096);
  await guard.set(setRequest());
  const { bytes } = await history.read();
  await history.requireRoomFor([Buffer.alloc(4096 - bytes.length)]);
  await expect(history.requireRoomFor([Buffer.alloc(4096 - bytes.length), Buffer.alloc(1)])).rejects.toMatchObject({
    code: "history_too_large",
  });
});
