import { ManifestError } from "../../manifest/error.ts";
import { type JsonPath, parseJson, pathText } from "../../manifest/json.ts";

/**
 * What `generate` leaves open in the reference values, because only the operator of the platform knows it: `""` where
 * text belongs, `null` where a number does.
 */

const MEASUREMENT = "96 hexadecimal digits";
const VERSION = "the lowest version to accept, 0 to 255";

/** What belongs there, by the key of the value or of the list that it is in. */
const WANTED: Readonly<Record<string, string>> = {
  ProductName: "Milan, Genoa or Turin",
  TrustedMeasurement: `the launch measurement of the guest image, ${MEASUREMENT}`,
  BootloaderVersion: VERSION,
  TEEVersion: VERSION,
  SNPVersion: VERSION,
  MicrocodeVersion: VERSION,
  MrTd: `the measurement of the guest's firmware, ${MEASUREMENT}`,
  MrSeam: `the measurement of the TDX module, ${MEASUREMENT}`,
  Rtmrs: `the measurement of what the firmware started, ${MEASUREMENT}`,
  Xfam: "the CPU features of the VM, 16 hexadecimal digits",
  MinimumTeeTcbSvn: "the lowest TCB to accept, 32 hexadecimal digits",
};

/** A value that has to be filled in by hand. */
export interface OpenValue {
  /** JSON path. */
  readonly where: string;
  readonly want: string;
}

/** @param path of `value` in the manifest */
export function openValuesIn(value: unknown, path: JsonPath): OpenValue[] {
  if (value === "" || value === null) {
    const key = path.findLast((step) => typeof step === "string");
    return [{ where: pathText(path), want: WANTED[String(key)] ?? "a value" }];
  }
  if (Array.isArray(value)) return value.flatMap((item, index) => openValuesIn(item, [...path, index]));
  if (typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, inner]) => openValuesIn(inner, [...path, key]));
}

/**
 * For whoever is about to use a manifest: says what is missing, and not only that `null` is no number. What else is wrong
 * is for `parseManifest`.
 *
 * @param bytes of manifest.json
 * @throws ManifestError invalid_manifest, with each JSON path and what belongs there; malformed_json, duplicate_key
 */
export function requireFilledIn(bytes: Uint8Array): void {
  const { ReferenceValues: values } = Object(parseJson(bytes)) as { readonly ReferenceValues?: unknown };
  const open = openValuesIn(values, ["ReferenceValues"]);
  if (open.length === 0) return;
  const faults = open.map(({ where, want }) => ({ where, got: "nothing yet", want }));
  throw new ManifestError("invalid_manifest", "reference values have to be filled in by hand", faults);
}
