import * as fc from "fast-check";
import { expect, test } from "vitest";
import { certificateLifetime, DEFAULT_CERTIFICATE_LIFETIME } from "./certificate-lifetime.ts";

const HOUR = 3_600_000;

test.each([
  ["1h", HOUR],
  ["60m", HOUR],
  ["3600s", HOUR],
  ["1h30m", 1.5 * HOUR],
  ["1h1s", HOUR + 1000],
  ["1h1m1s", HOUR + 61_000],
  ["720h", 720 * HOUR],
  ["8760h", 8760 * HOUR],
  ["8759h60m", 8760 * HOUR],
])("%s is understood", (text, ms) => {
  expect(certificateLifetime.parse(text)).toBe(ms);
});

test.each([
  "",
  "h",
  "0h",
  "0s",
  "1",
  "3600",
  "59m",
  "3599s",
  "59m59s",
  "8761h",
  "8760h1s",
  "99999999999h",
  "+1h",
  "-1h",
  "1.5h",
  "1h0m",
  "01h",
  "1h 30m",
  " 1h",
  "1h\n",
  "1h30",
  "30m1h",
  "1h1h",
  "1H",
  "1d",
  "365d",
  "1y",
  "3600000ms",
  "1e3h",
  "١h",
  3600,
  null,
  true,
  ["1h"],
])("%j is refused", (value) => {
  expect(certificateLifetime.safeParse(value).error?.issues).toMatchObject([
    { message: 'a duration from 1h to 8760h, like "720h" or "1h30m"' },
  ]);
});

test("what is accepted lies within an hour and a year, whatever the text", () => {
  const text = fc.stringMatching(/^(\d{1,9}[hms]){1,3}$/);
  fc.assert(
    fc.property(text, (written) => {
      const { data, success } = certificateLifetime.safeParse(written);
      return !success || (data >= HOUR && data <= 8760 * HOUR);
    }),
  );
});

test("the default is the longest", () => {
  expect(certificateLifetime.parse(DEFAULT_CERTIFICATE_LIFETIME)).toBe(8760 * HOUR);
});
