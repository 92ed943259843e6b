import { type Flag, GUEST_POLICY, isSet, PLATFORM_INFO, type SnpGuestPolicy } from "../attestation/snp/flags.ts";
import type { TrustedImage } from "../attestation/snp/image.ts";
import { AMD_ROOTS } from "../attestation/snp/roots.ts";
import { parseTcb, type Tcb, TCB_PARTS } from "../attestation/snp/tcb.ts";
import type { SimulatedReferenceValues, SnpReferenceValues, SnpSigningKey } from "../attestation/snp/validate.ts";
import type { VerifiedSnpReport } from "../attestation/snp/verify.ts";
import { toHex } from "../bytes/encode.ts";
import { TCB_KEYS } from "../manifest/lowered-minimums.ts";
import { ALWAYS, atLeast, bound, type Binding, type Comparison, equal, PINNED } from "./comparison.ts";

/** What `validateSnp` and `validateSimulated` compare, in their order. */

/** @param path of the set in the manifest */
export function compareSnp(
  verified: VerifiedSnpReport,
  reference: SnpReferenceValues,
  path: string,
  binding: Binding = "connection",
): Comparison[] {
  const { report, product, root } = verified;
  const [pinned = ""] = [...AMD_ROOTS].find(([, anchor]) => !anchor.simulated && anchor.product === product) ?? [];
  const chips = reference.allowedChipIds.map(toHex);
  const chipId = toHex(report.chipId);
  return [
    equal("root key", root.spkiDigest, pinned, PINNED),
    equal("product", product, reference.productName, `${path}.ProductName`),
    ...compareSigningKey(verified, reference.signingKey, path),
    ...comparePrivilege(verified),
    ...compareImage(verified, reference.image, path),
    ...compareGuestPolicy(report.policy, reference.guestPolicy, path),
    ...(reference.platformInfo === undefined
      ? []
      : compareFlags(
          "PLATFORM_INFO",
          report.platformInfo,
          PLATFORM_INFO,
          reference.platformInfo,
          `${path}.PlatformInfo`,
        )),
    ...compareTcb("COMMITTED_TCB", parseTcb(report.committedTcb, product, "COMMITTED_TCB"), reference, path),
    ...compareTcb("LAUNCH_TCB", parseTcb(report.launchTcb, product, "LAUNCH_TCB"), reference, path),
    ...compareTcb("REPORTED_TCB", parseTcb(report.reportedTcb, product, "REPORTED_TCB"), reference, path),
    ...compareMitigations(verified, reference.minimumMitigationVector, path),
    {
      field: "CHIP_ID",
      got: chipId,
      want: chips.join(" or ") || "any chip",
      reference: `${path}.AllowedChipIDs`,
      holds: chips.length === 0 || chips.includes(chipId),
    },
    bound("REPORT_DATA", report.reportData, binding),
  ];
}

/** As `compareSnp`, of a software TEE. */
export function compareSimulated(
  verified: VerifiedSnpReport,
  reference: SimulatedReferenceValues,
  path: string,
  binding: Binding = "connection",
): Comparison[] {
  const { report, root } = verified;
  const rootKey = equal("root key", root.spkiDigest, reference.rootDigest, `${path}.RootDigest`);
  return [
    { ...rootKey, holds: rootKey.holds && root.simulated },
    equal("POLICY.Debug", bit(report.policy, GUEST_POLICY.Debug), "0", ALWAYS),
    ...comparePrivilege(verified),
    ...compareImage(verified, reference.image, path),
    bound("REPORT_DATA", report.reportData, binding),
  ];
}

function compareSigningKey(
  { signingKey, cspId = "" }: VerifiedSnpReport,
  reference: SnpSigningKey = { kind: "vcek" },
  path: string,
): Comparison[] {
  const kind = equal("SIGNING_KEY", signingKey.toUpperCase(), reference.kind.toUpperCase(), `${path}.SigningKey`);
  return reference.kind === "vcek" ? [kind] : [kind, equal("CSP_ID", cspId, reference.cspId, `${path}.CSPID`)];
}

function compareMitigations(
  { report: { version, mitigations } }: VerifiedSnpReport,
  minimum: number | undefined,
  path: string,
): Comparison[] {
  if (minimum === undefined) return [];
  const reference = `${path}.MinimumMitigationVector`;
  if (mitigations === undefined) return [atLeast("VERSION", version, 5, reference)];
  const wanted = BigInt(minimum);
  return Object.entries({ LAUNCH_MIT_VECTOR: mitigations.launch, CURRENT_MIT_VECTOR: mitigations.current }).map(
    ([field, vector]) => ({
      field,
      got: `0x${vector.toString(16)}`,
      want: `all bits of 0x${wanted.toString(16)}`,
      reference,
      holds: (vector & wanted) === wanted,
    }),
  );
}

function comparePrivilege({ report }: VerifiedSnpReport): Comparison[] {
  return [equal("VMPL", `${report.vmpl}`, "0", ALWAYS)];
}

function compareImage({ report }: VerifiedSnpReport, image: TrustedImage, path: string): Comparison[] {
  if (image.kind === "measured") {
    return [equal("MEASUREMENT", report.measurement, image.measurement, `${path}.TrustedMeasurement`)];
  }
  const { idKeyDigest, authorKeyDigest } = image.signer;
  return [
    ...(idKeyDigest === undefined
      ? []
      : [equal("ID_KEY_DIGEST", report.idKeyDigest, idKeyDigest, `${path}.IdKeyDigest`)]),
    ...(authorKeyDigest === undefined
      ? []
      : [
          equal("AUTHOR_KEY_EN", report.authorKeyEnabled ? "1" : "0", "1", `${path}.AuthorKeyDigest`),
          equal("AUTHOR_KEY_DIGEST", report.authorKeyDigest, authorKeyDigest, `${path}.AuthorKeyDigest`),
        ]),
    equal("FAMILY_ID", report.familyId, image.familyId, `${path}.FamilyID`),
    equal("IMAGE_ID", report.imageId, image.imageId, `${path}.ImageID`),
    atLeast("GUEST_SVN", report.guestSvn, image.minimumGuestSvn, `${path}.MinimumGuestSVN`),
  ];
}

function compareGuestPolicy(policy: bigint, reference: SnpGuestPolicy | undefined, path: string): Comparison[] {
  if (reference === undefined) {
    return (["Debug", "MigrateMA"] as const).map((name) =>
      equal(`POLICY.${name}`, bit(policy, GUEST_POLICY[name]), "0", `${path}.GuestPolicy`),
    );
  }
  const [major, minor] = [Number((policy >> 8n) & 0xffn), Number(policy & 0xffn)];
  const { ABIMajor = 0, ABIMinor = 0 } = reference;
  return [
    {
      field: "POLICY.ABI",
      got: `${major}.${minor}`,
      want: `at least ${ABIMajor}.${ABIMinor}`,
      reference: `${path}.GuestPolicy`,
      holds: major > ABIMajor || (major === ABIMajor && minor >= ABIMinor),
    },
    ...compareFlags("POLICY", policy, GUEST_POLICY, reference, `${path}.GuestPolicy`),
  ];
}

function compareTcb(field: string, tcb: Tcb, { minimumTcb }: SnpReferenceValues, path: string): Comparison[] {
  return TCB_PARTS.flatMap((part) => {
    const minimum = minimumTcb[part];
    if (minimum === undefined) return [];
    return [atLeast(`${field}.${part}`, tcb[part], minimum, `${path}.MinimumTCB.${TCB_KEYS[part]}`)];
  });
}

function compareFlags(
  field: string,
  value: bigint,
  flags: Readonly<Record<string, Flag>>,
  reference: Readonly<Record<string, unknown>>,
  path: string,
): Comparison[] {
  return Object.entries(flags).map(([name, flag]) => {
    const isNamed = reference[name] === true;
    const isFree = isNamed === (flag.rule === "permission");
    const got = bit(value, flag);
    const wanted = flag.rule === "permission" ? "0" : "1";
    return {
      field: `${field}.${name}`,
      got,
      want: isFree ? "0 or 1" : wanted,
      reference: `${path}.${name}`,
      holds: isFree || got === wanted,
    };
  });
}

function bit(value: bigint, flag: Flag): "0" | "1" {
  return isSet(value, flag) ? "1" : "0";
}
