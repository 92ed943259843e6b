import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Container } from "../kubernetes/pod-spec.ts";
import { environmentOf } from "./environment.ts";
import { ownImage, ownImageConfig, type OwnProgram } from "./own-images.ts";

const PROGRAMS: readonly OwnProgram[] = ["coordinator", "initializer", "mesh-proxy"];

test.each(PROGRAMS)("what the Containerfile of %s sets is what is known of its image", (program) => {
  const text = readFileSync(join(import.meta.dirname, "../images", program, "Containerfile"), "utf8");
  const set = Array.from(text.matchAll(/^ENV (.*)$/gm), ([, variable = ""]) => variable);
  expect(ownImageConfig(ownImage(program))?.env.slice(1)).toEqual(set);
});

test("a policy pins the engine of the mesh proxy: the native one, or what the owner has chosen", () => {
  const image = ownImageConfig(ownImage("mesh-proxy"));
  if (image === undefined) throw new Error("it is ours");
  const container = { name: "contrast-mesh-proxy", image: ownImage("mesh-proxy") };
  const engine = (env: NonNullable<Container["env"]>): unknown =>
    environmentOf({ ...container, env }, { runtimeClassName: "contrast-cc", containers: [] }, image).env[
      "CONTRAST_ENGINE"
    ];
  expect(engine([])).toBe("native");
  expect(engine([{ name: "CONTRAST_ENGINE", value: "streams" }])).toBe("streams");
});
