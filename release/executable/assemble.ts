import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Architecture, isOfThisMachine } from "../../images/architecture.ts";
import { run, type RunOptions } from "../../images/run.ts";

/** What one executable is made of. */
export interface Parts {
  /** The module that it runs. */
  readonly main: string;
  /** Node for the architecture, as the very version that this process is. */
  readonly node: string;
  /** The native code of koffi for the architecture. */
  readonly native: string;
  /** What `verify --serve` serves. */
  readonly page: string;
}

/**
 * Puts a module into a copy of Node (https://nodejs.org/api/single-executable-applications.html). Nothing of the architecture
 * runs meanwhile, and so nothing is compiled ahead. The same parts give the same bytes.
 *
 * @param directory a folder that is not there yet @param output absolute
 * @throws ImageError
 */
export async function assemble(
  parts: Parts,
  architecture: Architecture,
  directory: string,
  output: string,
  options: RunOptions = {},
): Promise<void> {
  await mkdir(directory);
  await copyFile(parts.main, join(directory, "main"));
  await copyFile(parts.native, join(directory, "native"));
  await copyFile(parts.page, join(directory, "page"));
  const strip = isOfThisMachine(architecture) ? "strip" : `${architecture.tuple}-strip`;
  // Symbols for debuggers are a fifth of Node. Taken from the executable, its module would go with them.
  await run(strip, ["-s", "-o", join(directory, "node"), parts.node], options);
  const settings = {
    // Relative, for it is written into the executable.
    main: "main",
    mainFormat: "module",
    executable: "node",
    output,
    assets: { "koffi.node": "native", "verifier/index.html": "page" },
    useSnapshot: false,
    useCodeCache: false,
    disableExperimentalSEAWarning: true,
    // It is no Node to whoever starts it: NODE_OPTIONS can't load another module before it.
    execArgvExtension: "none",
  };
  await writeFile(join(directory, "sea.json"), JSON.stringify(settings));
  await run(process.execPath, ["--build-sea", "sea.json"], { ...options, cwd: directory });
  await chmod(output, 0o755);
}
