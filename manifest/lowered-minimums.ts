import type { TrustedImage } from "../attestation/snp/image.ts";
import { TCB_PARTS, type TcbPart } from "../attestation/snp/tcb.ts";
import type { SimulatedReferenceValues, SnpReferenceValues } from "../attestation/snp/validate.ts";
import type { TdxReferenceValues } from "../attestation/tdx/validate.ts";
import { isEqual, toHex } from "../bytes/encode.ts";
import type { Manifest } from "./manifest.ts";
import { REFERENCE_VALUE_KEYS, type ReferenceValues, type ReferenceValueOf } from "./reference-values.ts";
import { isSameValue } from "./same-value.ts";

/**
 * Which versions a new manifest accepts that the one before refused: somebody may be taking a deployment back to
 * firmware or images with known holes.
 *
 * A set of reference values is compared with the sets before of the same platform and image; where there is none, its
 * platform's minimums with those of the same platform, its image's with those of the same image. It lowers nothing if
 * one of these asks for no more in any part. A platform or an image that is new lowers nothing.
 */
export function loweredMinimums(before: Manifest, after: Manifest): readonly LoweredMinimum[] {
  const [old, now] = [before.referenceValues, after.referenceValues];
  return REFERENCE_VALUE_KEYS.flatMap((key) => loweredIn(key, old, now));
}

function loweredIn<K extends keyof ReferenceValues>(
  key: K,
  before: Pick<ReferenceValues, K>,
  after: Pick<ReferenceValues, K>,
): readonly LoweredMinimum[] {
  return after[key].flatMap((set, index) =>
    compare<ReferenceValueOf<K>>(set, `$.ReferenceValues.${key}[${index}]`, before[key], KINDS[key]),
  );
}

/** One minimum that fell. */
export interface LoweredMinimum {
  /** The JSON path in the new manifest. */
  readonly where: string;
  /** As the manifest before has it, for people. */
  readonly from: string;
  readonly to: string;
}

/** `where` is a key of the set; `by` is how far it fell, at least 1. */
interface Fall extends LoweredMinimum {
  readonly by: number;
}

/** What has to be known about one kind of reference values; what fell is compared part by part. */
interface Kind<Values> {
  readonly samePlatform: (before: Values, after: Values) => boolean;
  readonly sameImage: (before: Values, after: Values) => boolean;
  readonly platform: (before: Values, after: Values) => readonly Fall[];
  readonly image: (before: Values, after: Values) => readonly Fall[];
}

function compare<Values>(
  after: Values,
  path: string,
  sets: readonly Values[],
  kind: Kind<Values>,
): readonly LoweredMinimum[] {
  const platform = sets.filter((set) => kind.samePlatform(set, after));
  const image = sets.filter((set) => kind.sameImage(set, after));
  const both = platform.filter((set) => image.includes(set));
  // What was asked of the firmware and of the image goes together: two sets that each ask for less of one must not
  // hide a set that asks for less of both.
  const fell =
    both.length > 0
      ? least(both.map((set) => [...kind.platform(set, after), ...kind.image(set, after)]))
      : [
          ...least(platform.map((set) => kind.platform(set, after))),
          ...least(image.map((set) => kind.image(set, after))),
        ];
  return fell.map(({ where, from, to }) => ({ where: `${path}.${where}`, from, to }));
}

/** What fell since the set before that is nearest: nothing, if there is one that asks for no more. */
function least(candidates: readonly (readonly Fall[])[]): readonly Fall[] {
  const total = (falls: readonly Fall[]): number => falls.reduce((sum, { by }) => sum + by, 0);
  return candidates.toSorted((a, b) => total(a) - total(b))[0] ?? [];
}

/** The keys of MinimumTCB. */
export const TCB_KEYS: Readonly<Record<TcbPart, string>> = {
  fmc: "FMCVersion",
  bootloader: "BootloaderVersion",
  tee: "TEEVersion",
  snp: "SNPVersion",
  microcode: "MicrocodeVersion",
};

const SNP: Kind<SnpReferenceValues> = {
  samePlatform: (before, after) => before.productName === after.productName,
  sameImage: (before, after) => isSameImage(before.image, after.image),
  platform: (before, after) => [
    ...TCB_PARTS.flatMap((part) =>
      number(`MinimumTCB.${TCB_KEYS[part]}`, before.minimumTcb[part] ?? 0, after.minimumTcb[part] ?? 0),
    ),
    ...loweredAbi(before, after),
    ...fewerMitigations(before, after),
  ],
  image: (before, after) => loweredSvn(before.image, after.image),
};

const SIMULATED: Kind<SimulatedReferenceValues> = {
  samePlatform: (before, after) => before.rootDigest === after.rootDigest,
  sameImage: (before, after) => isSameImage(before.image, after.image),
  platform: () => [],
  image: (before, after) => loweredSvn(before.image, after.image),
};

const TDX: Kind<TdxReferenceValues> = {
  samePlatform: () => true,
  sameImage: (before, after) =>
    isSameValue([before.mrSeam, before.mrTd, ...before.rtmrs], [after.mrSeam, after.mrTd, ...after.rtmrs]),
  platform: (before, after) => [
    ...loweredTeeTcb(before, after),
    ...moreTcbStatuses(before, after),
    ...number(
      "MinimumTCBEvaluationDataNumber",
      before.minimumTcbEvaluationDataNumber ?? 0,
      after.minimumTcbEvaluationDataNumber ?? 0,
    ),
  ],
  image: () => [],
};

const KINDS: { readonly [K in keyof ReferenceValues]: Kind<ReferenceValueOf<K>> } = {
  snp: SNP,
  tdx: TDX,
  insecure: SIMULATED,
};

/** The ABI version of the guest policy is one number in two keys. */
function loweredAbi(before: SnpReferenceValues, after: SnpReferenceValues): readonly Fall[] {
  const abi = ({ guestPolicy }: SnpReferenceValues) =>
    [guestPolicy?.ABIMajor ?? 0, guestPolicy?.ABIMinor ?? 0] as const;
  const [[major, minor], [newMajor, newMinor]] = [abi(before), abi(after)];
  const by = (major - newMajor) * 256 + minor - newMinor;
  return by > 0 ? [{ where: "GuestPolicy", from: `ABI ${major}.${minor}`, to: `ABI ${newMajor}.${newMinor}`, by }] : [];
}

/** Bits that are not asked for any more. That the vector is not looked at any more lets older reports in, too. */
function fewerMitigations(before: SnpReferenceValues, after: SnpReferenceValues): readonly Fall[] {
  const [old, now] = [before.minimumMitigationVector, after.minimumMitigationVector];
  if (old === undefined) return [];
  const gone = BigInt(old) & ~BigInt(now ?? 0);
  const by = gone.toString(2).replaceAll("0", "").length + (now === undefined ? 1 : 0);
  return by > 0 ? [{ where: "MinimumMitigationVector", from: `${old}`, to: `${now ?? "none"}`, by }] : [];
}

/** Whether an image can satisfy both. */
function isSameImage(before: TrustedImage, after: TrustedImage): boolean {
  if (before.kind === "measured") return after.kind === "measured" && isEqual(before.measurement, after.measurement);
  return (
    after.kind === "signed" &&
    isEqual(before.familyId, after.familyId) &&
    isEqual(before.imageId, after.imageId) &&
    agree(before.signer.idKeyDigest, after.signer.idKeyDigest) &&
    agree(before.signer.authorKeyDigest, after.signer.authorKeyDigest)
  );
}

/** A digest that is left out is every digest. */
function agree(before: Uint8Array | undefined, after: Uint8Array | undefined): boolean {
  return before === undefined || after === undefined || isEqual(before, after);
}

function loweredSvn(before: TrustedImage, after: TrustedImage): readonly Fall[] {
  if (before.kind !== "signed" || after.kind !== "signed") return [];
  return number("MinimumGuestSVN", before.minimumGuestSvn, after.minimumGuestSvn);
}

function loweredTeeTcb(before: TdxReferenceValues, after: TdxReferenceValues): readonly Fall[] {
  const [old, now] = [before.minimumTeeTcbSvn, after.minimumTeeTcbSvn];
  const by = now.reduce((sum, byte, index) => sum + Math.max(0, (old[index] ?? 0) - byte), 0);
  return by > 0 ? [{ where: "MinimumTeeTcbSvn", from: toHex(old), to: toHex(now), by }] : [];
}

function moreTcbStatuses(before: TdxReferenceValues, after: TdxReferenceValues): readonly Fall[] {
  const [old, now] = [before.allowedTcbStatuses ?? [], after.allowedTcbStatuses ?? []];
  const by = now.filter((status) => !old.includes(status)).length;
  const text = (statuses: readonly string[]): string => ["UpToDate", ...statuses].join(" or ");
  return by > 0 ? [{ where: "AllowedTcbStatuses", from: text(old), to: text(now), by }] : [];
}

function number(where: string, from: number, to: number): readonly Fall[] {
  return to < from ? [{ where, from: `${from}`, to: `${to}`, by: from - to }] : [];
}
