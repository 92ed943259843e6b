import { spawnSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { checkOutPrevious, PREVIOUS } from "./release.ts";

/** Records anew what the previous release keeps and says: node test/skew/record.ts. See README.md. */

const folder = join(import.meta.dirname, PREVIOUS.version);
const release = checkOutPrevious();
try {
  const script = join(release.root, "test/skew/record-messages.ts");
  cpSync(join(import.meta.dirname, "record-messages.ts"), script);
  rmSync(folder, { recursive: true, force: true });
  const { status } = spawnSync(process.execPath, [script, folder], { cwd: release.root, stdio: "inherit" });
  const protos = ["build", "api", "-o", join(folder, "protos.binpb")];
  const built = spawnSync("node_modules/.bin/buf", protos, { cwd: release.root, stdio: "inherit" });
  process.exitCode = status === 0 && built.status === 0 ? 0 : 1;
} finally {
  release.remove();
}
