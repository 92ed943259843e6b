import { REFERENCE_VALUE_KEYS, type ReferenceValues } from "./reference-values.ts";

/**
 * Sets of reference values that every machine of their kind satisfies, or every machine of a cloud: whoever has one of
 * those and can touch it may stand in for the deployment's own, for what protects a VM from its host does not stop
 * whoever opens the machine.
 *
 * It reads the manifest as it is written, so that it can be asked before all values are filled in.
 */

export interface UnpinnedMachines {
  /** JSON path of the key that would name machines. */
  readonly where: string;
  /** For people: `any Milan`. */
  readonly machines: string;
}

export type WrittenReferenceValues = Readonly<Partial<Record<keyof ReferenceValues, readonly unknown[] | undefined>>>;

export function unpinnedMachines(written: WrittenReferenceValues): readonly UnpinnedMachines[] {
  return REFERENCE_VALUE_KEYS.flatMap((kind) =>
    (written[kind] ?? []).flatMap((set, index) => {
      const unpinned = UNPINNED[kind](Object(set) as WrittenSet);
      if (unpinned === undefined) return [];
      return [{ where: `$.ReferenceValues.${kind}[${index}].${unpinned.key}`, machines: unpinned.machines }];
    }),
  );
}

type WrittenSet = Readonly<Record<string, unknown>>;

/** The key that would name machines; undefined where the set names them, or where there are none. */
const UNPINNED: Readonly<
  Record<keyof ReferenceValues, (set: WrittenSet) => { readonly key: string; readonly machines: string } | undefined>
> = {
  snp: ({ ProductName, SigningKey, CSPID, AllowedChipIDs }) => {
    // No list of chips is possible here: a VLEK belongs to none.
    if (SigningKey === "VLEK") return { key: "SigningKey", machines: `any machine of ${text(CSPID)}` };
    if (isFilled(AllowedChipIDs)) return undefined;
    return { key: "AllowedChipIDs", machines: `any ${text(ProductName) || "machine with SEV-SNP"}` };
  },
  tdx: ({ AllowedPIIDs }) =>
    isFilled(AllowedPIIDs) ? undefined : { key: "AllowedPIIDs", machines: "any machine with TDX" },
  insecure: () => undefined,
};

function isFilled(list: unknown): boolean {
  return Array.isArray(list) && list.length > 0;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
