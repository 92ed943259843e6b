import { u64le } from "../../bytes/numbers.ts";

/**
 * TDATTRIBUTES (Intel TDX Module Base Architecture Specification, §A.3.4): what a TD is allowed and denied by whoever
 * launches it. The bits have the names of the specification.
 */
export const TD_ATTRIBUTES = {
  DEBUG: 0n,
  LASS: 27n,
  SEPT_VE_DISABLE: 28n,
  MIGRATABLE: 29n,
  PKS: 30n,
  KL: 31n,
  PERFMON: 63n,
} as const;

/** The group TUD, "TD under debug": with one of these bits the host can read the TD's memory, or profile what runs. */
export const TUD = 0xffn;
/** Nothing in a manifest speaks for the host that the TD is moved to. */
export const MIGRATABLE = 1n << TD_ATTRIBUTES.MIGRATABLE;

/**
 * What is asked for where a manifest names nothing: SEPT_VE_DISABLE alone. Without it the host can interrupt a guest at
 * any access to its private memory, and Linux does not start. Every other bit gives the guest something that the
 * manifest's measurements don't speak of.
 */
export const DEFAULT_TD_ATTRIBUTES = encodeTdAttributes(1n << TD_ATTRIBUTES.SEPT_VE_DISABLE);

/** 8 bytes, as a quote has them. */
export function encodeTdAttributes(attributes: bigint): Uint8Array {
  return u64le(attributes);
}
