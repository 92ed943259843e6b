/**
 * The bits of POLICY and PLATFORM_INFO (AMD publication 56860 §4.3 and table 24) and what a reference value says about
 * each. Their names are the manifest's keys.
 *
 * - `permission`: the bit takes protection away, so it may be one only where the reference value is true.
 * - `requirement`: the bit adds protection, so it must be one where the reference value is true.
 */
export interface Flag {
  readonly bit: number;
  readonly rule: "permission" | "requirement";
}
type Flags = Readonly<Record<string, Flag>>;

export const GUEST_POLICY = {
  SMT: { bit: 16, rule: "permission" },
  MigrateMA: { bit: 18, rule: "permission" },
  Debug: { bit: 19, rule: "permission" },
  SingleSocket: { bit: 20, rule: "requirement" },
  CXLAllowed: { bit: 21, rule: "permission" },
  MemAES256XTS: { bit: 22, rule: "requirement" },
  RAPLDis: { bit: 23, rule: "requirement" },
  CipherTextHidingDRAM: { bit: 24, rule: "requirement" },
  PageSwapDisable: { bit: 25, rule: "requirement" },
} as const satisfies Flags;

export const PLATFORM_INFO = {
  SMTEnabled: { bit: 0, rule: "permission" },
  TSMEEnabled: { bit: 1, rule: "permission" },
  ECCEnabled: { bit: 2, rule: "requirement" },
  RAPLDisabled: { bit: 3, rule: "requirement" },
  CiphertextHidingDRAMEnabled: { bit: 4, rule: "requirement" },
  AliasCheckComplete: { bit: 5, rule: "requirement" },
  TIOEnabled: { bit: 7, rule: "permission" },
} as const satisfies Flags;

/** Beside the bits: the lowest version of the ABI that the policy may ask for. What is left out is 0 or false. */
export type SnpGuestPolicy = Reference<typeof GUEST_POLICY> & {
  readonly ABIMajor?: number | undefined;
  readonly ABIMinor?: number | undefined;
};

/** What is left out is false. */
export type SnpPlatformInfo = Reference<typeof PLATFORM_INFO>;

type Reference<F extends Flags> = { readonly [Name in keyof F]?: boolean | undefined };

export function isSet(value: bigint, { bit }: Flag): boolean {
  return (value & (1n << BigInt(bit))) !== 0n;
}

/** The first bit that breaks its rule, or undefined. */
export function findViolation<F extends Flags>(
  value: bigint,
  flags: F,
  reference: Reference<F>,
): { readonly name: string; readonly set: boolean } | undefined {
  for (const [name, flag] of Object.entries(flags)) {
    const set = isSet(value, flag);
    const named = reference[name] === true;
    if (flag.rule === "permission" ? set && !named : named && !set) return { name, set };
  }
  return undefined;
}
