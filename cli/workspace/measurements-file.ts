import * as z from "zod/mini";
import { toHex } from "../../bytes/encode.ts";
import { ManifestError } from "../../manifest/error.ts";
import { parseJson } from "../../manifest/json.ts";
import { faultsOf, hexBytes, list, parseWith, record, text } from "../../manifest/schema.ts";
import { KATA_SHIMS } from "../../measurement/kata-vcpus.ts";
import { MAX_VCPUS } from "../../measurement/snp/measure.ts";
import { CliError } from "../context.ts";
import { readInput } from "./workspace.ts";

/** What `contrast measure` writes with `--output json`, and `contrast generate --measurements` reads. */

const hex = (length: number): z.ZodMiniType<string> =>
  z.pipe(
    hexBytes(length),
    z.transform((bytes) => toHex(bytes)),
  );

const digest256 = hex(32);
const digest384 = hex(48);
const WANT_COUNT = { error: `a whole number from 1 to ${MAX_VCPUS}` };
const count = z.int(WANT_COUNT).check(z.minimum(1, WANT_COUNT), z.maximum(MAX_VCPUS, WANT_COUNT));
const WANT_CPUS = { error: `a number of CPUs, from 0 to ${MAX_VCPUS}` };
const cpus = z.number(WANT_CPUS).check(z.minimum(0, WANT_CPUS), z.maximum(MAX_VCPUS, WANT_CPUS));

/** SHA-256 of the files that were measured; the command line as it is. */
const inputs = record({
  firmware: digest256,
  kernel: z.optional(digest256),
  initrd: z.optional(digest256),
  commandLine: z.optional(text),
});

const snp = record({
  tee: z.literal("snp"),
  inputs,
  /** CPUID Fn0000_0001_EAX of the vCPUs, and SEV_FEATURES. */
  vcpuSignature: text,
  guestFeatures: text,
  /** How the number of vCPUs follows from a pod. */
  sizing: record({
    shims: list(z.enum(KATA_SHIMS, { error: KATA_SHIMS.join(" or ") })).check(
      z.minLength(1, { error: "at least one" }),
    ),
    defaultVcpus: cpus,
    overheadVcpus: cpus,
  }),
  measurements: list(
    record({ vcpus: count, measurement: digest384, idBlock: z.optional(text), idAuth: z.optional(text) }),
  ).check(z.minLength(1, { error: "at least one" })),
  idKeyDigest: z.optional(digest384),
  authorKeyDigest: z.optional(digest384),
});

const event = record({ what: text, digest: digest384 });
const tdx = record({
  tee: z.literal("tdx"),
  inputs,
  mrTd: digest384,
  /** RTMR0 does not follow from files; where it is there, it comes from the log of a guest. */
  rtmrs: z.optional(record({ 0: z.optional(digest384), 1: digest384, 2: digest384, 3: digest384 })),
  rtmr0: record({ known: list(event), believed: z.optional(list(event)), unknown: list(text) }),
});

const schema = z.discriminatedUnion("tee", [snp, tdx], { error: 'an object with "tee": "snp" or "tdx"' });

export type SnpMeasurements = z.infer<typeof snp>;
export type TdxMeasurements = z.infer<typeof tdx>;
export type Measurements = z.infer<typeof schema>;

/** @throws CliError unreadable_file, malformed_file */
export async function readMeasurements(path: string): Promise<Measurements> {
  const bytes = await readInput(path, "the measurements");
  const refuse = (where: string, got: string, want: string, cause?: unknown): CliError =>
    new CliError("malformed_file", "the file holds no measurements", {
      where,
      got,
      want,
      hint: "write it with `contrast --output json measure snp …`",
      cause,
    });
  let value: unknown;
  try {
    value = parseJson(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw refuse(path, error.got ?? error.code, error.want ?? "JSON", error);
  }
  const { data, error } = parseWith(schema, value);
  if (data === undefined) {
    const [first] = faultsOf(error, value);
    throw refuse(`${path}: ${first?.where ?? "$"}`, first?.got ?? "something else", first?.want ?? "measurements");
  }
  const counts = data.tee === "snp" ? data.measurements.map(({ vcpus }) => vcpus) : [];
  const twice = counts.find((number, index) => counts.indexOf(number) !== index);
  if (twice === undefined) return data;
  throw refuse(path, `two measurements for ${twice} vCPUs`, "one for each number");
}
