import { sha256Hex } from "../bytes/sha256.ts";
import { VERSION } from "../runtime/version.ts";
import type { Architecture } from "./architecture.ts";
import type { NpmPackage } from "./bundle.ts";
import type { Image } from "./catalog.ts";
import type { DebianPackage } from "./debian.ts";
import { NODE_VERSION } from "./node-release.ts";

/**
 * A software bill of materials: CycloneDX 1.6 in JSON (ECMA-424). The same image gives the same bytes: it has no time in
 * it, and its serial number comes from its contents.
 */
export type Bill = Readonly<Record<string, unknown>>;

interface Contents {
  readonly debian: readonly DebianPackage[];
  readonly npm: readonly NpmPackage[];
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
    entry("platform", "node", NODE_VERSION, `pkg:github/nodejs/node@v${NODE_VERSION}`, "MIT"),
    ...contents.npm.map(npmEntry),
    ...contents.debian.map(({ name, version }) => {
      const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${debian}&distro=debian-12`;
      return entry("library", name, version, purl);
    }),
  ]);
}

type Entry = ReturnType<typeof entry>;

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

/** The package URL encodes what stands for something else in it, as in `@scope` and `1:2.3~rc+dfsg`. */
export function npmEntry({ name, version, license }: NpmPackage): Entry {
  return entry("library", name, version, `pkg:npm/${name.replace("@", "%40")}@${version}`, license);
}

function entry(type: "platform" | "library", name: string, version: string, purl: string, license?: string) {
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
