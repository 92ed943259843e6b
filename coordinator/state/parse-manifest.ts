import { Refusal } from "../../api/refusal.ts";
import { ManifestError } from "../../manifest/error.ts";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";

/**
 * A manifest that this Coordinator may put in force.
 *
 * @param allowInsecure whether it may trust a software TEE
 * @throws Refusal `invalid_manifest`, `insecure_not_allowed`
 */
export function parseUsable(bytes: Uint8Array, allowInsecure: boolean): Manifest {
  let manifest: Manifest;
  try {
    manifest = parseManifest(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new Refusal("invalid_manifest", error.message, { where: error.where, got: error.got, want: error.want });
  }
  if (manifest.referenceValues.insecure.length > 0 && !allowInsecure) {
    throw new Refusal("insecure_not_allowed", "the manifest trusts a software TEE, which proves nothing", {
      where: "$.ReferenceValues.insecure",
      want: "no such entry, or a Coordinator with CONTRAST_ALLOW_INSECURE=1",
    });
  }
  return manifest;
}
