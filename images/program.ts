import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CodedError, describeError } from "../runtime/errors.ts";
import { buildImages } from "./build.ts";
import { IMAGES } from "./catalog.ts";
import { architecture } from "./architecture.ts";

/** `npm run images`: builds the images of all programs, without a registry and without an engine. */

const HELP = `npm run images -- [options]

Builds the images into dist/images/: for each an OCI image layout, and a bill of materials for each architecture.

  --arch <names>   amd64, arm64 or both, with a comma (default: amd64,arm64)
  --only <names>   of ${IMAGES.map(({ name }) => name).join(", ")}
  --base <image>   build on this image in place of Debian's packages, e.g. a distroless one for C++
  --guest <folder> the guest image for the node installer, as \`npm run guest-image\` makes it
  --out <folder>   default: dist/images
  --load           also load them into the Docker engine of this machine
`;

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: "amd64,arm64" },
    only: { type: "string" },
    base: { type: "string" },
    guest: { type: "string" },
    out: { type: "string", default: join("dist", "images") },
    load: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const root = join(import.meta.dirname, "..");
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

if (values.help) process.stdout.write(HELP);
else process.exitCode = await main();

async function main(): Promise<number> {
  const work = await mkdtemp(join(tmpdir(), "contrast-images-"));
  try {
    const wanted = values.only?.split(",");
    const unknown = wanted?.find((name) => IMAGES.every((image) => image.name !== name));
    if (unknown !== undefined) throw new Error(`no image ${JSON.stringify(unknown)}; ${HELP}`);
    const built = await buildImages({
      root,
      work,
      out: values.out,
      images: IMAGES.filter(({ name }) => wanted?.includes(name) ?? true),
      architectures: values.arch.split(",").map(architecture),
      base: values.base,
      guest: values.guest,
      load: values.load,
      stop: stop.signal,
      talk: (line) => void process.stderr.write(`${line}\n`),
    });
    for (const { reference, digest, compressed } of built) {
      const sizes = Object.entries(compressed).map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(1)} MB`);
      process.stdout.write(`${reference}@${digest}  ${sizes.join(", ")}\n`);
    }
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return 130;
    process.stderr.write(`images: ${describeError(error)}\n`);
    return error instanceof CodedError ? 1 : 2;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
