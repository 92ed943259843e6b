import { expect, test } from "vitest";
import { architecture } from "./architecture.ts";

test("an architecture is found by the name of OCI and by that of Node, which are two for one of them", () => {
  expect(architecture("amd64")).toBe(architecture("x64"));
  expect(architecture("amd64")).toMatchObject({ npm: "x64", debian: "amd64", tuple: "x86_64-linux-gnu" });
  expect(architecture("arm64")).toMatchObject({ npm: "arm64", debian: "arm64", tuple: "aarch64-linux-gnu" });
});

test.each(["riscv64", "x86_64", "AMD64", "", "amd64 "])(
  "%j is no architecture, and the refusal says which are",
  (name) => {
    expect(() => architecture(name)).toThrow(
      expect.objectContaining({ code: "unknown_architecture", got: name, want: "amd64 or arm64" }),
    );
  },
);
