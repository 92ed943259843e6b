import { isDeepStrictEqual } from "node:util";
import { isRecord } from "../../kubernetes/yaml/align.ts";
import type { ManifestDraft } from "../../manifest/draft.ts";
import type { Fault } from "../../runtime/fault.ts";
import {
  type Measurements,
  readMeasurements,
  type SnpMeasurements,
  type TdxMeasurements,
} from "../workspace/measurements-file.ts";
import { podVcpus, type SizedPod } from "../workspace/pod-vcpus.ts";
import { GenerateError } from "./error.ts";
import type { Platform } from "./platform-names.ts";

/**
 * `generate --measurements`: what `contrast measure` computed goes into the reference values. A guest of another number of
 * vCPUs has another measurement, so that one set becomes one for each number that the pods lead to.
 */

type ReferenceValueSets = ManifestDraft["ReferenceValues"];

/** Writes measurements into the sets of a manifest. */
export type FillMeasurements = (sets: ReferenceValueSets) => ReferenceValueSets;

/** A pod, and what it is for. */
interface PlacedPod extends SizedPod {
  readonly platform: Platform;
}

/** A file that `--measurements` names. */
export interface MeasurementsFile {
  readonly path: string;
  readonly measurements: Measurements;
}

/** @throws CliError unreadable_file, malformed_file; GenerateError unusable_measurements */
export async function readMeasurementsFiles(paths: readonly string[]): Promise<readonly MeasurementsFile[]> {
  const files = await Promise.all(paths.map(async (path) => ({ path, measurements: await readMeasurements(path) })));
  const faults = files.flatMap(({ path, measurements: { tee, inputs } }, index): Fault[] => {
    const earlier = files.slice(0, index).find(({ measurements }) => measurements.tee === tee);
    if (earlier !== undefined) {
      return [{ where: path, got: `measurements of ${tee}, as in ${earlier.path}`, want: "one file for each TEE" }];
    }
    if (inputs.kernel !== undefined) return [];
    const want = "those of a firmware with a kernel: the host could start any other one with it";
    return [{ where: path, got: "measurements of a firmware alone", want }];
  });
  if (faults.length === 0) return files;
  throw new GenerateError("unusable_measurements", "the measurements can't be trusted for these pods", faults);
}

/** @throws GenerateError unusable_measurements, no_measurement, with the place of each pod */
export function fillMeasurements(files: readonly MeasurementsFile[], pods: readonly PlacedPod[]): FillMeasurements {
  const fills = files.map((file) => fillFrom(file, pods));
  return (sets) => fills.reduce((filled, fill) => fill(filled), sets);
}

function fillFrom({ path, measurements }: MeasurementsFile, pods: readonly PlacedPod[]): FillMeasurements {
  const own = pods.filter(({ platform }) => platform.endsWith(`-${measurements.tee}`));
  const others = own.filter(({ platform }) => !platform.includes("-qemu-"));
  const guests = `guests of ${measurements.tee} under QEMU`;
  const faults =
    own.length === 0
      ? [{ where: path, got: `measurements of ${guests}`, want: "pods of such a platform: see --reference-values" }]
      : others.map(({ places, platform }) => ({ where: places.at("runtimeClassName"), got: platform, want: guests }));
  if (faults.length > 0) {
    throw new GenerateError("unusable_measurements", "the measurements are those of another platform", faults);
  }
  if (measurements.tee === "tdx") {
    return (sets) => ({ ...sets, ...(sets.tdx && { tdx: sets.tdx.map(withTdx(measurements)) }) });
  }
  const needed = neededBy(own, path, measurements);
  return (sets) => ({ ...sets, ...(sets.snp && { snp: withSnp(sets.snp, needed) }) });
}

/** The measurements for all numbers of vCPUs that the pods lead to, by these numbers. */
function neededBy(
  pods: readonly SizedPod[],
  path: string,
  { sizing, measurements }: SnpMeasurements,
): readonly string[] {
  const malformed: Fault[] = [];
  const missing: Fault[] = [];
  const counts = new Set<number>();
  for (const pod of pods) {
    for (const [shim, count] of podVcpus(pod, sizing, malformed) ?? []) {
      counts.add(count);
      if (measurements.some(({ vcpus }) => vcpus === count)) continue;
      const want = `one of those in ${path}: ${measurements.map(({ vcpus }) => vcpus).join(", ")}; or run \`contrast measure snp\` again, with --pods, or --vcpus ${count}`;
      missing.push({ where: pod.places.at("containers"), got: `${count} vCPUs (${shim})`, want });
    }
  }
  if (malformed.length > 0) {
    throw new GenerateError("unusable_measurements", "the size of a pod's VM does not follow from the file", malformed);
  }
  if (missing.length > 0) throw new GenerateError("no_measurement", "a pod's VM is not measured", missing);
  return measurements.filter(({ vcpus }) => counts.has(vcpus)).map(({ measurement }) => measurement);
}

const MEASUREMENT = "TrustedMeasurement";
const SIGNERS = ["IdKeyDigest", "AuthorKeyDigest"];

/** Those of a signer stay: they accept what the signer measured. Sets that differ in nothing else are one. */
function withSnp(sets: readonly unknown[], measurements: readonly string[]): readonly unknown[] {
  const seen: unknown[] = [];
  return sets.flatMap((set) => {
    if (!isRecord(set) || (SIGNERS.some((key) => key in set) && !(MEASUREMENT in set))) return [set];
    const others = { ...set, [MEASUREMENT]: "" };
    if (seen.some((earlier) => isDeepStrictEqual(earlier, others))) return [];
    seen.push(others);
    return measurements.map((measurement) => ({ ...others, [MEASUREMENT]: measurement }));
  });
}

/** RTMR0 stays as it is where it is not measured: it does not follow from files. */
function withTdx({ mrTd, rtmrs }: TdxMeasurements): (set: unknown) => unknown {
  return (set) => {
    if (!isRecord(set)) return set;
    const [rtmr0 = ""] = Array.isArray(set["Rtmrs"]) ? (set["Rtmrs"] as readonly unknown[]) : [];
    return { ...set, MrTd: mrTd, ...(rtmrs && { Rtmrs: [rtmrs[0] ?? rtmr0, rtmrs[1], rtmrs[2], rtmrs[3]] }) };
  };
}
