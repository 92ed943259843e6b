import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { CodedError, describeError } from "../runtime/errors.ts";
import { VERSION } from "../runtime/version.ts";
import { buildTimeOf } from "./build-time.ts";
import { ReleaseError } from "./error.ts";
import { prepare, type Prepared } from "./prepare.ts";
import { obstacles } from "./readiness.ts";

/** `npm run release`: prepares a release in dist/release/. It publishes nothing. */

const HELP = `npm run release -- [options]

Prepares a release in dist/release/: images, npm packages, executables, bills of materials, Kubernetes files with digests,
checksums.
It publishes nothing, and says what does.

  --registry <name>  where the images will be, like ghcr.io/example
  --images <folder>  take the images that npm run images has built there, and build none
  --out <folder>     default: dist/release
  --dry-run          also from a checkout that can't be released as it is
`;

const root = join(import.meta.dirname, "..");
const options = {
  registry: { type: "string" },
  images: { type: "string" },
  out: { type: "string", default: join(root, "dist", "release") },
  "dry-run": { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

process.exitCode = await main();

async function main(): Promise<number> {
  let values: ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];
  try {
    ({ values } = parseArgs({ options }));
    // A domain, perhaps with a port and a path; a scheme would make no image reference.
    if (values.registry !== undefined && !/^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._-]+)*$/.test(values.registry)) {
      throw new Error(`--registry: got ${JSON.stringify(values.registry)}, want a name like ghcr.io/example`);
    }
  } catch (error) {
    process.stderr.write(`release: ${describeError(error)}\n`);
    return 2;
  }
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { registry } = values;
  const out = resolve(values.out);
  const work = await mkdtemp(join(tmpdir(), "contrast-release-"));
  try {
    const found = await obstacles(root, registry);
    if (found.length > 0 && !values["dry-run"]) {
      const hint = "or try it with --dry-run";
      throw new ReleaseError("not_ready", `version ${VERSION} can't be released`, { got: found.join("; "), hint });
    }
    const images = values.images ?? buildImages(join(work, "images"));
    const built = buildTimeOf(root, process.env["SOURCE_DATE_EPOCH"]);
    const prepared = await prepare({ root, work: join(work, "npm"), out, images, registry, built });
    process.stdout.write(`${VERSION} is prepared in ${out}\n`);
    process.stdout.write(values["dry-run"] ? why(found) : publishing(out, prepared, registry ?? ""));
    return 0;
  } catch (error) {
    process.stderr.write(`release: ${describeError(error)}\n`);
    return error instanceof CodedError ? 1 : 2;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function buildImages(out: string): string {
  const { status } = spawnSync(process.execPath, [join(root, "images", "program.ts"), "--out", out], {
    stdio: ["ignore", process.stderr, process.stderr],
  });
  if (status !== 0) throw new ReleaseError("unusable_images", "the images could not be built");
  return out;
}

function why(found: readonly string[]): string {
  return ["dry run; a release needs more:", ...found.map((line) => `  ${line}`), ""].join("\n");
}

/** The order matters: who gets the package or the files finds the images. */
function publishing(out: string, { images, engines, tarball }: Prepared, registry: string): string {
  const copies = images.map(
    ({ name, original }) =>
      `skopeo copy --all --preserve-digests oci:${join(out, "images", name)}:${VERSION} docker://${registry}/${original}`,
  );
  const packages = [...engines.map((engine) => engine.tarball), tarball];
  const publications = packages.map((file) => `npm publish --provenance ${join(out, file)}`);
  const lines = [...copies, ...publications, `git tag --sign v${VERSION}`];
  return ["to publish it:", ...lines.map((line) => `  ${line}`), ""].join("\n");
}
