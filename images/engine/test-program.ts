import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describeError } from "../../runtime/errors.ts";
import { architecture } from "../architecture.ts";
import { cargoFor, engineSource, tripleOf } from "./build.ts";
import { readCrates } from "./crates.ts";

/** `npm run test:engine -- [arguments of cargo test]`: the engine's own tests, and its peer of rustls for other tests. */

process.exitCode = await main(process.argv.slice(2));

async function main(wanted: readonly string[]): Promise<number> {
  try {
    const own = architecture(process.arch);
    const source = engineSource(join(import.meta.dirname, "..", ".."));
    const { args, env } = cargoFor(source, own, await readCrates(source.source, tripleOf(own)));
    const command = ["test", ...args, ...wanted];
    const ended = spawnSync("cargo", command, {
      cwd: source.source,
      env: { ...process.env, ...env },
      stdio: "inherit",
    });
    return ended.status ?? 1;
  } catch (error) {
    process.stderr.write(`test:engine: ${describeError(error)}\n`);
    return 1;
  }
}
