import { isEqual, toHex } from "../../bytes/encode.ts";
import { quote } from "../../runtime/fault.ts";
import { EvidenceError } from "../error.ts";
import {
  findViolation,
  GUEST_POLICY,
  isSet,
  PLATFORM_INFO,
  type SnpGuestPolicy,
  type SnpPlatformInfo,
} from "./flags.ts";
import { checkImage, type TrustedImage } from "./image.ts";
import type { SnpProduct } from "./product.ts";
import type { SnpReport } from "./report.ts";
import { describeTcb, parseTcb, partBelow, type Tcb } from "./tcb.ts";
import type { VerifiedSnpReport } from "./verify.ts";

/**
 * Compares a verified report with reference values. All of them must hold. A report under a vendor's root never
 * satisfies the reference values of a software TEE, nor the other way round.
 */

/** What a manifest says about one platform with SEV-SNP. */
export interface SnpReferenceValues {
  readonly productName: SnpProduct;
  readonly image: TrustedImage;
  /** Where left out, a VCEK. */
  readonly signingKey?: SnpSigningKey | undefined;
  /**
   * Compared with REPORTED_TCB, which alone the signing key proves: whoever has the key of broken firmware writes the
   * other fields as he likes. Then with what the host can't take back: COMMITTED_TCB, and LAUNCH_TCB.
   */
  readonly minimumTcb: Omit<Tcb, "fmc"> & { readonly fmc?: number | undefined };
  /** The bits that have to be set; reports before version 5 have none to show. Where left out, nothing is asked for. */
  readonly minimumMitigationVector?: number | undefined;
  /** Where left out, anything but debugging and migration passes. */
  readonly guestPolicy?: SnpGuestPolicy | undefined;
  /** Where left out, anything passes. */
  readonly platformInfo?: SnpPlatformInfo | undefined;
  /** CHIP_IDs of 64 bytes; an empty list allows every chip. */
  readonly allowedChipIds: readonly Uint8Array[];
}

/**
 * Whose key has to have signed. A VCEK is one chip's. A VLEK is on all machines of a cloud service provider, so that one
 * of them that is broken speaks for all of them.
 */
export type SnpSigningKey = { readonly kind: "vcek" } | { readonly kind: "vlek"; readonly cspId: string };

/** What a manifest says about software TEEs of one fake vendor. */
export interface SimulatedReferenceValues {
  /** Lower-case hex of the SHA-256 of the root's SubjectPublicKeyInfo. */
  readonly rootDigest: string;
  readonly image: TrustedImage;
}

/** @throws EvidenceError for the first reference value that does not hold */
export function validateSnp(verified: VerifiedSnpReport, reference: SnpReferenceValues): void {
  const { report, product, root } = verified;
  if (root.simulated) {
    throw new EvidenceError("untrusted_root", "a software TEE can't stand in for hardware", {
      where: "root",
      got: root.spkiDigest,
      want: "a root of AMD's",
    });
  }
  if (product !== reference.productName) {
    throw new EvidenceError("product_mismatch", "another product than the manifest names", {
      where: "product",
      got: product,
      want: reference.productName,
    });
  }
  checkSigningKey(verified, reference.signingKey ?? { kind: "vcek" });
  checkDebug(report, reference.guestPolicy?.Debug === true);
  checkVmpl(report);
  checkImage(report, reference.image);
  checkGuestPolicy(report.policy, reference.guestPolicy);
  checkPlatformInfo(report.platformInfo, reference.platformInfo);
  const minimum = { ...reference.minimumTcb, fmc: reference.minimumTcb.fmc ?? 0 };
  checkMinimumTcb("COMMITTED_TCB", parseTcb(report.committedTcb, product, "COMMITTED_TCB"), minimum);
  checkMinimumTcb("LAUNCH_TCB", parseTcb(report.launchTcb, product, "LAUNCH_TCB"), minimum);
  checkMinimumTcb("REPORTED_TCB", parseTcb(report.reportedTcb, product, "REPORTED_TCB"), minimum);
  checkMitigations(report, reference.minimumMitigationVector);
  checkChipAllowed(report.chipId, reference.allowedChipIds);
}

/** @throws EvidenceError for the first reference value that does not hold */
export function validateSimulated(verified: VerifiedSnpReport, reference: SimulatedReferenceValues): void {
  const { report, root } = verified;
  if (!root.simulated || root.spkiDigest !== reference.rootDigest) {
    throw new EvidenceError("untrusted_root", "not the software TEE that the manifest names", {
      where: "root",
      got: `${root.spkiDigest}${root.simulated ? "" : " (AMD's)"}`,
      want: reference.rootDigest,
    });
  }
  checkDebug(report, false);
  checkVmpl(report);
  checkImage(report, reference.image);
}

function checkSigningKey({ signingKey, cspId }: VerifiedSnpReport, reference: SnpSigningKey): void {
  const mismatch = (where: string, got: string, want: string): EvidenceError =>
    new EvidenceError(
      "signing_key_not_allowed",
      "the report is signed by another kind of key than the manifest trusts",
      {
        where,
        got,
        want,
        hint: "name SigningKey VLEK and the CSPID only where every machine of that cloud may stand in for the others",
      },
    );
  if (signingKey !== reference.kind) {
    throw mismatch("SIGNING_KEY", signingKey.toUpperCase(), reference.kind.toUpperCase());
  }
  if (reference.kind === "vlek" && cspId !== reference.cspId) {
    throw mismatch("CSP_ID", quote(cspId ?? ""), quote(reference.cspId));
  }
}

/**
 * With this bit the host can read and write the memory of the VM.
 *
 * @throws EvidenceError debug_allowed
 */
export function checkDebug({ policy }: SnpReport, allowed: boolean): void {
  if (!isSet(policy, GUEST_POLICY.Debug) || allowed) return;
  throw new EvidenceError("debug_allowed", "the host may debug this VM", {
    where: "POLICY.Debug",
    got: "1",
    want: "0",
    hint: "launch the VM without the debug policy",
  });
}

/** Software at a lower privilege must not speak for the whole VM. */
function checkVmpl({ vmpl }: SnpReport): void {
  if (vmpl === 0) return;
  throw new EvidenceError("vmpl_mismatch", "the report was asked for at a lower privilege", {
    where: "VMPL",
    got: `${vmpl}`,
    want: "0",
  });
}

function checkGuestPolicy(policy: bigint, reference: SnpGuestPolicy | undefined): void {
  if (reference === undefined) {
    // A migration agent takes the VM's keys to wherever the host names.
    if (!isSet(policy, GUEST_POLICY.MigrateMA)) return;
    throw guestPolicyMismatch("POLICY.MigrateMA", "1", "0");
  }
  const [minor, major] = [Number(policy & 0xffn), Number((policy >> 8n) & 0xffn)];
  const { ABIMajor = 0, ABIMinor = 0 } = reference;
  if (major < ABIMajor || (major === ABIMajor && minor < ABIMinor)) {
    throw guestPolicyMismatch("POLICY.ABI", `${major}.${minor}`, `${ABIMajor}.${ABIMinor} or later`);
  }
  const violation = findViolation(policy, GUEST_POLICY, reference);
  if (violation === undefined) return;
  throw guestPolicyMismatch(`POLICY.${violation.name}`, ...gotAndWant(violation.set));
}

function guestPolicyMismatch(where: string, got: string, want: string): EvidenceError {
  const message = "the VM was launched with a weaker policy than the manifest asks for";
  return new EvidenceError("guest_policy_mismatch", message, { where, got, want });
}

function checkPlatformInfo(platformInfo: bigint, reference: SnpPlatformInfo | undefined): void {
  const violation = reference && findViolation(platformInfo, PLATFORM_INFO, reference);
  if (violation === undefined) return;
  const [got, want] = gotAndWant(violation.set);
  throw new EvidenceError("platform_info_mismatch", "the platform is set up weaker than the manifest asks for", {
    where: `PLATFORM_INFO.${violation.name}`,
    got,
    want,
  });
}

function gotAndWant(set: boolean): [string, string] {
  return set ? ["1", "0"] : ["0", "1"];
}

function checkMinimumTcb(field: string, tcb: Tcb, minimum: Tcb): void {
  const part = partBelow(tcb, minimum);
  if (part === undefined) return;
  throw new EvidenceError("tcb_too_low", "the firmware is older than the manifest allows", {
    where: `${field}.${part}`,
    got: describeTcb(tcb),
    want: `at least ${describeTcb(minimum)}`,
    hint:
      field === "REPORTED_TCB"
        ? "update the firmware of the host, and let it report the TCB that it runs (SNP_CONFIG)"
        : "update the firmware of the host",
  });
}

/** A report of an earlier version says nothing about mitigations: a host must not get around them by an old firmware. */
function checkMitigations({ version, mitigations }: SnpReport, reference: number | undefined): void {
  if (reference === undefined) return;
  const minimum = BigInt(reference);
  const refuse = (where: string, got: string, want: string): EvidenceError =>
    new EvidenceError("mitigation_missing", "the firmware lacks a mitigation that the manifest asks for", {
      where,
      got,
      want,
      hint: "update the firmware of the host, and launch the VM anew",
    });
  if (mitigations === undefined) throw refuse("VERSION", `${version}`, "5, the first with mitigation vectors");
  const vectors = { LAUNCH_MIT_VECTOR: mitigations.launch, CURRENT_MIT_VECTOR: mitigations.current };
  for (const [where, vector] of Object.entries(vectors)) {
    if ((vector & minimum) !== minimum) throw refuse(where, bits(vector), `all bits of ${bits(minimum)}`);
  }
}

function bits(vector: bigint): string {
  return `0x${vector.toString(16)}`;
}

function checkChipAllowed(chipId: Uint8Array, allowed: readonly Uint8Array[]): void {
  if (allowed.length === 0 || allowed.some((candidate) => isEqual(candidate, chipId))) return;
  throw new EvidenceError("chip_not_allowed", "a chip that the manifest does not list", {
    where: "CHIP_ID",
    got: toHex(chipId),
    want: allowed.map((candidate) => toHex(candidate)).join(" or "),
  });
}
