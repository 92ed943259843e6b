import { readFile } from "node:fs/promises";

/** One line of /proc/self/mountinfo (proc(5)), as far as it is needed. */
export interface Mount {
  readonly path: string;
  readonly type: string;
  readonly source: string;
}

/** @param text of mountinfo; the latest mount on a path is the one that is seen */
export function mountAt(text: string, path: string): Mount | undefined {
  const mounts = text.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , , at] = before.split(" ");
    const [type, source] = after.split(" ");
    return at === undefined || type === undefined || source === undefined
      ? []
      : [{ path: unescape(at), type, source: unescape(source) }];
  });
  return mounts.findLast((mount) => mount.path === path);
}

/** Space, tab, line break and backslash are octal numbers. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

export async function readMount(path: string): Promise<Mount | undefined> {
  return mountAt(await readFile("/proc/self/mountinfo", "utf8"), path);
}

/** `initializer volume-healthcheck`: whether a volume is mounted there. */
export async function volumeHealth(path: string): Promise<{ readonly isGood: boolean; readonly text: string }> {
  const mount = await readMount(path);
  const isGood = mount?.type === "ext4" && mount.source.startsWith("/dev/mapper/contrast-volume-");
  return { isGood, text: isGood ? `${mount.source} is mounted at ${path}` : `no volume is mounted at ${path} yet` };
}
