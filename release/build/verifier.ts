import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Plugin, rolldown } from "rolldown";
import { run } from "../../images/run.ts";
import { ReleaseError } from "../error.ts";

/**
 * The library of the package (docs/verifier.md). One file runs on Node, Deno, Bun and in browsers: the sources that the programs
 * have, on WebCrypto. It stands where tsc put the same on node:crypto, which nobody is to have beside it: what one has verified
 * the other does not know.
 */

/** Without the trailing extension, below `verifier/`: what of tsc's declarations belongs to the package. */
const TYPES = ["verifier", "types", "mesh-fetch"] as const;

/** What is of others, for whoever hands the file on by itself. */
const BANNER = `/*! Apache-2.0. Contains zod: MIT, Copyright (c) 2025 Colin McDonnell. */`;

/**
 * @param root of the checkout
 * @param dist the folder with what tsc compiled
 * @throws ReleaseError unfit_bundle; ImageError
 */
export async function buildVerifier(root: string, dist: string): Promise<void> {
  await writeFile(join(dist, "verifier", "verifier.js"), await bundleForAll(root, join(root, "verifier/verifier.ts")));
  await writeTypes(root, join(dist, "verifier"));
}

/**
 * @param root of the checkout
 * @param input a module of the sources
 * @returns it and all that it takes, as one module that imports nothing
 * @throws ReleaseError unfit_bundle
 */
export async function bundleForAll(root: string, input: string): Promise<string> {
  const build = await rolldown({
    input,
    cwd: root,
    platform: "browser",
    plugins: [onWebCrypto(root)],
    external: /^node:/,
    treeshake: { propertyReadSideEffects: false },
    logLevel: "warn",
  });
  const { output } = await build.generate({ format: "esm", minify: true, banner: BANNER });
  await build.close();
  const [{ code, imports }, ...others] = output;
  const foreign = [
    ...imports,
    ...others.map(({ fileName }) => fileName),
    ...(/\bBuffer\b/.test(code) ? ["Buffer"] : []),
  ];
  if (foreign.length === 0) return code;
  throw new ReleaseError("unfit_bundle", "the library takes what browsers don't have", {
    where: input,
    got: foreign.join(", "),
    want: "one module without imports",
  });
}

/** One implementation of crypto/primitives.ts in the place of the other. */
function onWebCrypto(root: string): Plugin {
  return {
    name: "webcrypto",
    resolveId: (source) => (source.endsWith("/crypto/node.ts") ? join(root, "crypto/web.ts") : undefined),
  };
}

async function writeTypes(root: string, directory: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "contrast-types-"));
  try {
    const compiler = join(root, "node_modules", ".bin", "tsc");
    await run(compiler, ["-p", "tsconfig.types.json", "--outDir", work], { cwd: root });
    for (const file of TYPES.map((name) => `${name}.d.ts`)) {
      const text = await readFile(join(work, "verifier", file), "utf8");
      // In the package there are the compiled files.
      await writeFile(join(directory, file), text.replaceAll(/(from "\.\/[\w-]+)\.ts"/g, '$1.js"'));
    }
  } finally {
    await rm(work, { recursive: true });
  }
}
