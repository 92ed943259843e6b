import { isDeepStrictEqual } from "node:util";
import type { SnpProduct } from "../../attestation/snp/product.ts";
import { isRecord } from "../../kubernetes/yaml/align.ts";
import type { ManifestDraft } from "../../manifest/draft.ts";
import { pathText } from "../../manifest/json.ts";
import { CliError } from "../context.ts";

/** Puts values into the sets of a manifest that they are for. */

export interface ReportedValues {
  readonly kind: "snp" | "tdx";
  /** Sets of another product stay as they are. */
  readonly product: SnpProduct | undefined;
  /** By the keys of a set. A list has the values for its first places. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What is odd about the machine. */
  readonly warnings: readonly string[];
}

type Sets = ManifestDraft["ReferenceValues"];

export interface Filled {
  readonly sets: Sets;
  /** JSON paths with the values, of what is new and of what is another than the report's. */
  readonly filled: readonly string[];
  readonly kept: readonly string[];
}

/** @throws CliError usage where the manifest has no set for them */
export function fillSets(sets: Sets, { kind, product, values }: ReportedValues, replace: boolean): Filled {
  const filled: string[] = [];
  const kept: string[] = [];
  const fill = (before: unknown, given: unknown, path: readonly PropertyKey[]): unknown => {
    if (isRecord(given)) {
      const own = isRecord(before) ? before : {};
      const entries = Object.entries(given).map(([key, value]) => [key, fill(own[key], value, [...path, key])]);
      return { ...own, ...(Object.fromEntries(entries) as Record<string, unknown>) };
    }
    if (Array.isArray(given)) {
      const own = Array.isArray(before) ? (before as readonly unknown[]) : [];
      const first = given.map((value, index) => fill(own[index], value, [...path, index]));
      return [...first, ...own.slice(first.length)];
    }
    if (isSame(before, given)) return before;
    const isOpen = before === undefined || before === null || before === "";
    if (!isOpen && !replace) {
      kept.push(`${pathText(path)}: ${JSON.stringify(before)}, the report says ${JSON.stringify(given)}`);
      return before;
    }
    filled.push(`${pathText(path)}: ${JSON.stringify(given)}`);
    return given;
  };
  const own = sets[kind] ?? [];
  let matching = 0;
  const next = own.map((set, index) => {
    if (!isRecord(set) || !isFor(set, product)) return set;
    matching++;
    return fill(set, values, ["ReferenceValues", kind, index]);
  });
  if (matching > 0) return { sets: { ...sets, [kind]: next }, filled, kept };
  throw new CliError("usage", "the manifest has no reference values for this machine", {
    where: pathText(["ReferenceValues", kind]),
    got: `${own.length} sets`,
    want: product === undefined ? `a set of ${kind}` : `a set whose ProductName is ${product}, or still open`,
    hint: "make one with `contrast generate --reference-values`",
  });
}

function isFor(set: Readonly<Record<string, unknown>>, product: SnpProduct | undefined): boolean {
  const name = set["ProductName"];
  return product === undefined || name === product || name === "" || name === undefined;
}

/** Hexadecimal digits may be of either case. */
function isSame(before: unknown, given: unknown): boolean {
  if (typeof before === "string" && typeof given === "string") return before.toLowerCase() === given.toLowerCase();
  return isDeepStrictEqual(before, given);
}
