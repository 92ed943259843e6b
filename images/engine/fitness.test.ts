import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { engineFile } from "../../mesh-proxy/native/addon.ts";
import { architecture } from "../architecture.ts";
import { needsOf, requireFit } from "./fitness.ts";

const NO_READELF = spawnSync("readelf", ["--version"]).status === 0 ? "" : " (skipped: there is no readelf)";
const NO_ENGINE = engineFile() === undefined ? " (skipped: there is no engine; npm run build:engine)" : "";

/** Debian 12's, which the images have. */
const LIBC = "2.36-9+deb12u13";

const own = architecture(process.arch);
const other = architecture(process.arch === "x64" ? "arm64" : "x64");

describe.skipIf(NO_READELF !== "")(`what a library needs${NO_READELF}`, () => {
  // Node is a file like others, and on every machine.
  const file = process.execPath;

  test("is of one machine", async () => {
    await requireFit(file, own, LIBC);
    await expect(requireFit(file, other, LIBC)).rejects.toMatchObject({ code: "engine_unfit", where: file });
  });

  test("is a glibc that is not older: 2.9 is older than 2.17", async () => {
    const { glibc } = await needsOf(file);
    await requireFit(file, own, `${glibc}-1`);
    for (const older of ["2.9-1", "2.17-1+deb8u1", ""]) {
      await expect(requireFit(file, own, older)).rejects.toMatchObject({
        code: "engine_unfit",
        got: `it needs glibc ${glibc}`,
      });
    }
  });

  test("can't be read of what is no library", async () => {
    const text = join(import.meta.dirname, "fitness.ts");
    await expect(requireFit(text, own, LIBC)).rejects.toMatchObject({ code: "build_failed" });
  });

  test.skipIf(NO_ENGINE !== "")(`is there in the base of the images, for the engine${NO_ENGINE}`, async () => {
    await requireFit(engineFile() ?? "", own, LIBC);
  });
});
