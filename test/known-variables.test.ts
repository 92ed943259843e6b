import { expect, test } from "vitest";
import { KNOWN } from "../runtime/environment.ts";
import { startProgram } from "./programs.ts";

/** What a program says of itself is made from its own table of variables. */
test("the variables that a typing error is compared with are those of the programs", async () => {
  const programs = ["coordinator", "initializer", "mesh-proxy", "node-installer"].map((name) =>
    startProgram([`${name}/main.ts`, "--help"]),
  );
  await Promise.all(programs.map(({ exited }) => exited));
  const help = programs.map(({ stdout }) => stdout()).join("");
  const named = new Set(Array.from(help.matchAll(/^ +(CONTRAST_\w+)/gm), ([, name = ""]) => name));
  expect([...named].toSorted()).toEqual([...KNOWN].toSorted());
});
