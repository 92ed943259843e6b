import { expect, test } from "vitest";
import { toLatin1 } from "../bytes/encode.ts";
import { changeToSign } from "./change.ts";

const digest = (byte: number): Buffer => Buffer.alloc(32, byte);
const PLACE = { manifestDigest: digest(1), previous: digest(2), meshKey: digest(3) };

/** What owners have signed stays signed: other programs make these bytes, too. */
test("a change, a rekey and an amendment are signed in domains of their own", () => {
  const place = [digest(1), digest(2), digest(3)];
  const signed = (changes: object): string => toLatin1(changeToSign({ ...PLACE, ...changes }));
  const text = (domain: string, ...digests: readonly Buffer[]): string =>
    [`${domain}\0`, ...digests.map((bytes) => bytes.toString("latin1"))].join("");
  expect(signed({})).toBe(text("contrast-transition-v2", ...place));
  expect(signed({ newRootKey: digest(4) })).toBe(text("contrast-rekey-v1", ...place, digest(4)));
  expect(signed({ annex: digest(4) })).toBe(text("contrast-amendment-v1", ...place, digest(4)));
});

test("nothing is a rekey and an amendment at once, and an annex is named by 32 bytes", () => {
  expect(() => changeToSign({ ...PLACE, newRootKey: digest(4), annex: digest(5) })).toThrow(RangeError);
  expect(() => changeToSign({ ...PLACE, annex: digest(5).subarray(1) })).toThrow(RangeError);
});
