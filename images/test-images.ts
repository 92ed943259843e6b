import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { architecture } from "./architecture.ts";
import { ENGINES } from "./build.ts";
import { IMAGES } from "./catalog.ts";
import { engineManifest } from "./engine/package.ts";
import { VERSION } from "../runtime/version.ts";

/**
 * Writes what images/program.ts writes, for images of this machine that hold nothing: those that can be run take minutes
 * to build.
 *
 * @param engine the native engine of this machine; undefined: a file that nobody can load takes its place
 */
export function writeSmallImages(folder: string, engine?: string): void {
  const { oci } = architecture(process.arch);
  const built = IMAGES.map(({ name }) => {
    const layout = join(folder, name);
    mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
    const add = (content: object | string): { digest: string; size: number } => {
      const bytes = Buffer.from(typeof content === "string" ? content : JSON.stringify(content));
      const hex = createHash("sha256").update(bytes).digest("hex");
      writeFileSync(join(layout, "blobs/sha256", hex), bytes);
      return { digest: `sha256:${hex}`, size: bytes.length };
    };
    const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", ...add(`the layer of ${name}`) };
    const config = { mediaType: "application/vnd.oci.image.config.v1+json", ...add({ architecture: oci }) };
    const manifest = { mediaType: "application/vnd.oci.image.manifest.v1+json", ...add({ config, layers: [layer] }) };
    const index = add({ schemaVersion: 2, manifests: [{ ...manifest, platform: { architecture: oci } }] });
    const entry = { mediaType: "application/vnd.oci.image.index.v1+json", ...index };
    writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    writeFileSync(join(folder, `${name}.${oci}.cdx.json`), JSON.stringify({ bomFormat: "CycloneDX" }));
    return { reference: `contrast/${name}:${VERSION}`, digest: index.digest, compressed: { [oci]: layer.size } };
  });
  writeFileSync(join(folder, "images.json"), JSON.stringify(built));
  for (const cpu of ["x64", "arm64"] as const) writeEngine(folder, cpu, cpu === process.arch ? engine : undefined);
}

function writeEngine(folder: string, cpu: "x64" | "arm64", engine: string | undefined): void {
  const directory = join(folder, ENGINES, `linux-${cpu}-gnu`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "package.json"), JSON.stringify(engineManifest(cpu, "Apache-2.0")));
  if (engine === undefined) writeFileSync(join(directory, "engine.node"), "no engine");
  else copyFileSync(engine, join(directory, "engine.node"));
  writeFileSync(`${directory}.cdx.json`, JSON.stringify({ bomFormat: "CycloneDX" }));
}
