import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { architecture } from "../architecture.ts";
import { buildEngine, engineSource } from "./build.ts";
import { needsOf } from "./fitness.ts";

/** `npm run build:engine`: builds the native engine of the mesh proxy, where programs of this checkout find it. */

const HELP = `npm run build:engine -- [options]

Builds the native engine of the mesh proxy into node_modules/.cache/engine/.

  --arch <name>  amd64 or arm64 (default: that of this machine)
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const root = join(import.meta.dirname, "..", "..");
  try {
    const options = {
      arch: { type: "string", default: process.arch },
      help: { type: "boolean", default: false },
    } as const;
    const { values } = parseArgs({ options });
    if (values.help) {
      process.stdout.write(HELP);
      return 0;
    }
    const wanted = architecture(values.arch);
    process.stderr.write(`building the engine for ${wanted.oci}, which takes a minute or two the first time\n`);
    const { file, crates, rust } = await buildEngine(engineSource(root), wanted);
    const { glibc } = await needsOf(file);
    const made = `${crates.length} crates, Rust ${rust}, needs glibc ${glibc}`;
    process.stdout.write(`${relative(root, file)}: ${made}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`build:engine: ${describeError(error)}\n`);
    return error instanceof CodedError ? 1 : 2;
  }
}
