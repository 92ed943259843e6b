import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { run } from "../images/run.ts";
import { ReleaseError } from "./error.ts";

/** With provenance npm says from which commit and by which workflow the package was built. */
export const PUBLISH = { access: "public", provenance: true };

/** @param directory with the package @returns the name of the tarball @throws ReleaseError faulty_package, ImageError */
export async function pack(directory: string, out: string): Promise<string> {
  await mkdir(out, { recursive: true });
  const packed = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", out], {
    cwd: directory,
  });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  await lint(join(out, filename));
  return filename;
}

async function lint(tarball: string): Promise<void> {
  const bytes = await readFile(tarball);
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, strict: true });
  if (messages.length === 0) return;
  throw new ReleaseError("faulty_package", "publint finds fault with the npm package", {
    where: tarball,
    got: messages.map((message) => formatMessage(message, pkg, { color: false })).join("; "),
  });
}
