import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { architecture } from "../../images/architecture.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { buildExecutables } from "./build.ts";

/** `npm run build:executable`: the command line as one file, from what `npm run build` compiled. */

const HELP = `npm run build:executable -- [options]

Compiles, and writes the command line as one file for each architecture into dist/executable/, with a bill of materials
and the licences of what is in it.

  --arch <names>  amd64, arm64 or both, with a comma (default: that of this machine)
  --out <folder>  default: dist/executable
`;

const root = join(import.meta.dirname, "..", "..");
const { values } = parseArgs({
  options: {
    arch: { type: "string", default: process.arch },
    out: { type: "string", default: join(root, "dist", "executable") },
    help: { type: "boolean", default: false },
  },
});

if (values.help) process.stdout.write(HELP);
else process.exitCode = await main();

async function main(): Promise<number> {
  const work = await mkdtemp(join(tmpdir(), "contrast-executable-"));
  try {
    const dist = join(root, "dist");
    if (!existsSync(join(dist, "cli"))) throw new Error("nothing is compiled; npm run build does it");
    const architectures = values.arch.split(",").map(architecture);
    const out = resolve(values.out);
    const names = await buildExecutables({ root, dist, work: join(work, "work"), out, architectures });
    process.stdout.write(names.map((name) => `${join(out, name)}\n`).join(""));
    return 0;
  } catch (error) {
    process.stderr.write(`executable: ${describeError(error)}\n`);
    return error instanceof CodedError ? 1 : 2;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
