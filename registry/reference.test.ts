import { expect, test } from "vitest";
import { fullName, parseReference, withDigest } from "./reference.ts";

const HEX = "0123456789abcdef".repeat(4);
const DIGEST = `sha256:${HEX}`;

test.each([
  ["nginx", "docker.io/library/nginx:latest"],
  ["nginx:1.25", "docker.io/library/nginx:1.25"],
  ["bitnami/redis", "docker.io/bitnami/redis:latest"],
  ["docker.io/nginx", "docker.io/library/nginx:latest"],
  ["index.docker.io/bitnami/redis:7", "docker.io/bitnami/redis:7"],
  ["localhost/app", "localhost/app:latest"],
  ["localhost:5000/app", "localhost:5000/app:latest"],
  ["host/app", "docker.io/host/app:latest"],
  ["Host/app", "Host/app:latest"],
  ["test:5000/repo", "test:5000/repo:latest"],
  ["test.com:5000", "docker.io/library/test.com:5000"],
  ["192.168.1.1:5000/repo:5050", "192.168.1.1:5000/repo:5050"],
  ["[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000/repo:tag"],
  ["foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080"],
  ["b.gcr.io/test.example.com/my-app:Test.Example", "b.gcr.io/test.example.com/my-app:Test.Example"],
  ["a__b/c---d", "docker.io/a__b/c---d:latest"],
  [`${"a/".repeat(127)}a`, `docker.io/${"a/".repeat(127)}a:latest`],
  [`test:5000/repo@${DIGEST}`, `test:5000/repo@${DIGEST}`],
  [`nginx:1.25@${DIGEST}`, `docker.io/library/nginx@${DIGEST}`],
  [`nginx@sha512:${HEX}${HEX}`, `docker.io/library/nginx@sha512:${HEX}${HEX}`],
])("%s is %s", (text, name) => {
  expect(fullName(parseReference(text))).toBe(name);
});

test.each([
  ["", `its end of ""`],
  ["Uppercase:tag", `"U" at character 1`],
  ["test:5000/Uppercase/app", `"U" at character 11`],
  [" nginx", `" " at character 1`],
  ["nginx ", `" " at character 6`],
  ["nginx:", "its end"],
  ["nginx:1.25\n", String.raw`"\n" at character 11`],
  ["nginx:.5", `"." at character 7`],
  [`nginx:${"a".repeat(129)}`, `"a" at character 135`],
  ["nginx@", "its end"],
  ["nginx@sha256:abc", `"s" at character 7`],
  [`nginx@sha256:${HEX.toUpperCase()}`, `"s" at character 7`],
  [`nginx@sha384:${HEX}`, `"s" at character 7`],
  [`nginx@${DIGEST}:tag`, `"s" at character 7`],
  [":tag", `":" at character 1`],
  ["a..b", `"." at character 2`],
  ["a___b", `"_" at character 2`],
  ["a//b", `"/" at character 2`],
  ["aa/asdf$$^/aa", `"$" at character 8`],
  ["foo_bar.com/app", `"_" at character 4`],
  ["a-.com/app", `"-" at character 2`],
  ["https://example.com/app", `":" at character 6`],
  ["example.com:99999/app", `"e" at character 1`],
  ["1.2.3.999/app", `"1" at character 1`],
  ["[fe80::1%eth0]/app", `"[" at character 1`],
  ["[2001:db8::1]:5000", `"[" at character 1`],
  ["nginx\u{1F40B}", `"\u{1F40B}" at character 6`],
  [`${"a/".repeat(128)}a`, "its end"],
  [HEX, `"0" at character 1`],
])("%j is refused", (text, got) => {
  const refusal = expect.objectContaining({
    code: "malformed_reference",
    got: expect.stringContaining(got) as unknown,
  });
  expect(() => parseReference(text)).toThrow(refusal as Error);
});

test("a reference is pinned as it is spelt, and only once", () => {
  expect(withDigest("nginx:1.25", DIGEST)).toBe(`nginx:1.25@${DIGEST}`);
  expect(withDigest("localhost:5000/app", DIGEST)).toBe(`localhost:5000/app@${DIGEST}`);
  expect(withDigest(`nginx:1.25@${DIGEST}`, DIGEST)).toBe(`nginx:1.25@${DIGEST}`);
});
