import { isEqual, toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import { type Pck, SGX_TYPES } from "./pck.ts";

/**
 * Which machine it is and how it is set up, by the PCK certificate. Intel signed that, so it holds whatever the machine's
 * own firmware says.
 */

/** The reference values for it; a flag asks for something where it is true. */
export interface MachineReferenceValues {
  readonly allowedPiids?: readonly Uint8Array[] | undefined;
  readonly memoryIntegrity?: boolean | undefined;
  readonly smtDisabled?: boolean | undefined;
  readonly staticPlatform?: boolean | undefined;
}

/** @throws EvidenceError piid_not_allowed, memory_integrity_missing, smt_enabled, dynamic_platform */
export function checkMachine(pck: Pck, reference: MachineReferenceValues): void {
  checkPiid(pck, reference.allowedPiids ?? []);
  if (reference.memoryIntegrity === true && pck.sgxType !== SGX_TYPES.ScalableWithIntegrity) {
    throw new EvidenceError("memory_integrity_missing", "the machine keeps no cryptographic integrity of its memory", {
      where: "PCK SGX type",
      got: describeSgxType(pck),
      want: "ScalableWithIntegrity",
    });
  }
  // What the certificate does not say is not known, so it does not hold.
  const { smtEnabled, dynamicPlatform } = pck.configuration ?? {};
  if (reference.smtDisabled === true && smtEnabled !== false) {
    throw new EvidenceError("smt_enabled", "SMT may be on", {
      where: "PCK smtEnabled",
      got: describeFlag(smtEnabled),
      want: "0",
    });
  }
  if (reference.staticPlatform === true && dynamicPlatform !== false) {
    throw new EvidenceError("dynamic_platform", "CPU packages may be added to the machine", {
      where: "PCK dynamicPlatform",
      got: describeFlag(dynamicPlatform),
      want: "0",
    });
  }
}

function checkPiid({ piid }: Pck, allowed: readonly Uint8Array[]): void {
  if (allowed.length === 0 || allowed.some((candidate) => piid !== undefined && isEqual(piid, candidate))) return;
  throw new EvidenceError("piid_not_allowed", "a machine that the manifest does not list", {
    where: "PCK PIID",
    got: piid === undefined ? "none" : toHex(piid),
    want: allowed.map((candidate) => toHex(candidate)).join(" or "),
  });
}

/** `Scalable`, or the number. */
export function describeSgxType({ sgxType }: Pick<Pck, "sgxType">): string {
  const [name] = Object.entries(SGX_TYPES).find(([, number]) => number === sgxType) ?? [];
  return name ?? `${sgxType}`;
}

export function describeFlag(flag: boolean | undefined): string {
  return flag === undefined ? "none" : `${Number(flag)}`;
}
