import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { addressFamilies } from "./families.ts";

/** A folder like /proc/sys/net/ipv6/conf. */
async function settings(values: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "families-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  for (const [name, value] of Object.entries(values)) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "disable_ipv6"), `${value}\n`);
  }
  return folder;
}

test.each([
  [{ all: "0", default: "0", eth0: "0" }, true],
  [{ all: "1", default: "1", eth0: "1" }, false],
  [{ all: "1", default: "1", eth0: "0" }, true],
  [{ all: "1", default: "0", eth0: "1" }, true],
])("with %j IPv6 is on: %s", async (values, isOn) => {
  expect(await addressFamilies(await settings(values))).toEqual(isOn ? ["IPv4", "IPv6"] : ["IPv4"]);
});

const known = async (): Promise<boolean> => true;
const unknown = async (): Promise<boolean> => false;

test("a kernel without IPv6 has IPv4 alone", async () => {
  expect(await addressFamilies(join(await settings({}), "missing"), unknown)).toEqual(["IPv4"]);
});

test("settings that can't be seen turn nothing off", async () => {
  const empty = await settings({});
  for (const folder of [empty, join(empty, "missing")]) {
    expect(await addressFamilies(folder, known)).toEqual(["IPv4", "IPv6"]);
  }
});
