import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getRawAsset } from "node:sea";
import type { errno as Errno, load as Load } from "koffi";

/**
 * Stands for the package koffi in the executable. koffi looks for its native code in folders beside the program and in those
 * of NODE_PATH, where anybody may have put some. Here it comes out of the executable alone.
 *
 * The kernel maps code from files only, so it is a file for a moment, in a folder that nobody else can enter.
 */
const { load, errno } = loadNative();
export { load, errno };

function loadNative(): { readonly load: typeof Load; readonly errno: typeof Errno } {
  const folder = mkdtempSync(join(tmpdir(), "contrast-"));
  try {
    const file = join(folder, "koffi.node");
    writeFileSync(file, new Uint8Array(getRawAsset("koffi.node")), { mode: 0o500, flag: "wx" });
    const module = { exports: {} };
    process.dlopen(module, file);
    return module.exports as ReturnType<typeof loadNative>;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
