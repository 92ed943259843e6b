import * as z from "zod/mini";
import { ManifestError } from "./error.ts";
import { parseJson } from "./json.ts";
import { manifestSchema } from "./manifest.ts";
import type { ReferenceValues } from "./reference-values.ts";
import { faultsOf, list, mapValues, parseWith, record, type Written, written } from "./schema.ts";

/**
 * The manifest while it is being written. Its keys are those of the manifest. Values may still be open, so this is not yet
 * a `Manifest`.
 */
export interface ManifestDraft extends Written<Omit<z.input<typeof manifestSchema>, "ReferenceValues">> {
  readonly ReferenceValues: DraftReferenceValues;
}

type DraftReferenceValues = Readonly<Partial<Record<keyof ReferenceValues, readonly unknown[] | undefined>>>;

export type PolicyDraft = ManifestDraft["Policies"][string];

const { shape } = manifestSchema;
const sets = mapValues(shape.ReferenceValues.shape, () => z.optional(list(z.unknown())));

const schema = record(
  mapValues(shape, (value, key) => (key === "ReferenceValues" ? record(sets) : written(value))),
) as unknown as z.ZodMiniType<ManifestDraft>;

/** @throws ManifestError malformed_json, duplicate_key, invalid_manifest */
export function parseManifestDraft(bytes: Uint8Array): ManifestDraft {
  const value = parseJson(bytes);
  const { data, error } = parseWith(schema, value);
  if (data === undefined) throw new ManifestError("invalid_manifest", "a key is wrong", faultsOf(error, value));
  return data;
}
