import { expect, test } from "vitest";
import { changeToSign } from "./change.ts";

const digest = (byte: number): Buffer => Buffer.alloc(32, byte);
const PLACE = { manifestDigest: digest(1), previous: digest(2), meshKey: digest(3) };

/** What owners have signed stays signed: other programs make these bytes, too. */
test("a change, a rekey and an amendment are signed in domains of their own", () => {
  const place = [digest(1), digest(2), digest(3)];
  expect(changeToSign(PLACE)).toEqual(Buffer.concat([Buffer.from("contrast-transition-v2\0"), ...place]));
  expect(changeToSign({ ...PLACE, newRootKey: digest(4) })).toEqual(
    Buffer.concat([Buffer.from("contrast-rekey-v1\0"), ...place, digest(4)]),
  );
  expect(changeToSign({ ...PLACE, annex: digest(4) })).toEqual(
    Buffer.concat([Buffer.from("contrast-amendment-v1\0"), ...place, digest(4)]),
  );
});

test("nothing is a rekey and an amendment at once, and an annex is named by 32 bytes", () => {
  expect(() => changeToSign({ ...PLACE, newRootKey: digest(4), annex: digest(5) })).toThrow(RangeError);
  expect(() => changeToSign({ ...PLACE, annex: digest(5).subarray(1) })).toThrow(RangeError);
});
