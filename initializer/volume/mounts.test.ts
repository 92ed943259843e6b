import { expect, test } from "vitest";
import { mountAt, volumeHealth } from "./mounts.ts";

const TEXT = `22 28 0:21 / /proc rw,relatime shared:12 - proc proc rw
40 28 0:35 / /volume rw - tmpfs tmpfs rw
41 40 253:2 / /volume rw,nodev shared:7 master:1 - ext4 /dev/mapper/contrast-volume-data rw,errors=remount-ro
42 28 8:1 / /a\\040b\\134c rw - ext4 /dev/sda1 rw
`;

test("the latest mount on a path is the one that counts", () => {
  const source = "/dev/mapper/contrast-volume-data";
  expect(mountAt(TEXT, "/volume")).toEqual({ path: "/volume", type: "ext4", source });
  expect(mountAt(TEXT, "/a b\\c")).toMatchObject({ source: "/dev/sda1" });
  expect(mountAt(TEXT, "/other")).toBeUndefined();
});

test("a folder that is no volume is not healthy", async () => {
  expect(await volumeHealth("/proc")).toEqual({ isGood: false, text: "no volume is mounted at /proc yet" });
});
