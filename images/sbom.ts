import { sha256Hex } from "../bytes/sha256.ts";
import { VERSION } from "../runtime/version.ts";
import type { Architecture } from "./architecture.ts";
import type { NpmPackage } from "./bundle.ts";
import type { Image } from "./catalog.ts";
import type { DebianPackage } from "./debian.ts";
import type { BuiltEngine } from "./engine/build.ts";
import { NODE_VERSION } from "./node-release.ts";

/**
 * A software bill of materials: CycloneDX 1.6 in JSON (ECMA-424). The same image gives the same bytes: it has no time in
 * it, and its serial number comes from its contents.
 */
export type Bill = Readonly<Record<string, unknown>>;

interface Contents {
  readonly debian: readonly DebianPackage[];
  readonly npm: readonly NpmPackage[];
  readonly engine?: Pick<BuiltEngine, "crates" | "rust"> | undefined;
}

export function bill(image: Image, { oci, debian }: Architecture, contents: Contents): Bill {
  const component = {
    type: "container",
    "bom-ref": image.name,
    name: `contrast/${image.name}`,
    version: VERSION,
    description: image.description,
    licenses: [{ license: { id: "Apache-2.0" } }],
    properties: [{ name: "architecture", value: oci }],
  };
  return billOf(component, [
    nodeEntry(),
    ...contents.npm.map(npmEntry),
    ...(contents.engine === undefined ? [] : engineEntries(contents.engine)),
    ...contents.debian.map(({ name, version }) => {
      const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${debian}&distro=debian-12`;
      return entry("library", name, version, purl);
    }),
  ]);
}

interface Entry {
  readonly type: "platform" | "library";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses?: readonly { readonly expression: string }[];
}

/**
 * @param component what the bill is of, as CycloneDX has it
 * @param entries in any order, and some perhaps twice
 */
export function billOf(component: Bill & { readonly "bom-ref": string }, entries: readonly Entry[]): Bill {
  const sorted = entries.toSorted((a, b) => (a.purl < b.purl ? -1 : 1));
  const unique = sorted.filter(({ purl }, index) => sorted[index - 1]?.purl !== purl);
  const digest = sha256Hex(Buffer.from(JSON.stringify([component, unique])));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuid(digest)}`,
    version: 1,
    metadata: { component },
    components: unique,
    dependencies: [{ ref: component["bom-ref"], dependsOn: unique.map(({ purl }) => purl) }],
  };
}

export function nodeEntry(): Entry {
  return entry("platform", "node", NODE_VERSION, `pkg:github/nodejs/node@v${NODE_VERSION}`, "MIT");
}

export function npmEntry({ name, version, license }: NpmPackage): Entry {
  return entry("library", name, version, npmPurl(name, version), license);
}

/** The package URL encodes what stands for something else in it, as in `@scope` and `1:2.3~rc+dfsg`. */
export function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

/** Of the engine's package for npm. */
export function engineBill(name: string, engine: Pick<BuiltEngine, "crates" | "rust">): Bill {
  const purl = npmPurl(name, VERSION);
  const description = "The native engine of Contrast's mesh proxy";
  const licenses = [{ license: { id: "Apache-2.0" } }];
  const component = { type: "library", "bom-ref": purl, name, version: VERSION, purl, description, licenses };
  return billOf(component, engineEntries(engine));
}

/** The crates in the engine but those of this repository, and Rust's library. */
function engineEntries({ crates, rust }: Pick<BuiltEngine, "crates" | "rust">): Entry[] {
  const entries = crates.flatMap(({ name, version, license, checksum }) => {
    if (checksum === undefined) return [];
    const hashes = [{ alg: "SHA-256", content: checksum }];
    return { ...entry("library", name, version, `pkg:cargo/${name}@${version}`, license), hashes };
  });
  return [...entries, entry("library", "rust", rust, `pkg:github/rust-lang/rust@${rust}`, "MIT OR Apache-2.0")];
}

function entry(type: "platform" | "library", name: string, version: string, purl: string, license?: string): Entry {
  return { type, "bom-ref": purl, name, version, purl, ...(license && { licenses: [{ expression: license }] }) };
}

/** RFC 9562 §5.8: version 8, bits of one's own. */
function uuid(hex: string): string {
  const variant = ((Number.parseInt(hex[16] ?? "0", 16) & 0x3) | 0x8).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    variant + hex.slice(17, 20),
    hex.slice(20, 32),
  ].join("-");
}
