import { MalformedBytes } from "../bytes/cursor.ts";
import { CodedError, type Details } from "../runtime/errors.ts";

/** Why nothing can be computed, and what to do about it. */
export type MeasurementCode =
  /** The firmware is cut, or its tables contradict each other: get the file anew. */
  | "malformed_firmware"
  /** The firmware does not say which pages an SNP guest begins with: take a build for SEV-SNP. */
  | "no_snp_metadata"
  /** The firmware has no place for the kernel's hashes, so the host could start any kernel: take a build for AmdSev. */
  | "no_kernel_hashes_section"
  /** The firmware would look for the kernel's hashes elsewhere than where they are measured: take another build. */
  | "kernel_hashes_misplaced"
  /** The firmware does not say where further vCPUs begin: measure one vCPU, or take another build. */
  | "no_reset_vector"
  /** The firmware is none for Intel TDX: take a build for TDX. */
  | "no_tdx_metadata"
  /** The file is no kernel that can be started: give the bzImage that the VM is started with. */
  | "malformed_kernel"
  /** The command line has a byte that ends it: correct the text. */
  | "malformed_command_line"
  /** The file is no event log, or it is cut: take CCEL of the guest as it is. */
  | "malformed_event_log"
  /** The guest of the event log was started with other files: give its own. */
  | "event_log_mismatch"
  /** An ID block takes ECDSA keys on P-384: make one with `openssl ecparam -name secp384r1 -genkey`. */
  | "id_key_algorithm";

export class MeasurementError extends CodedError<MeasurementCode> {}

/**
 * Runs a parser over a firmware file.
 *
 * @throws MeasurementError malformed_firmware in place of MalformedBytes
 */
export function readingFirmware<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    throw malformedFirmware(`${error.field} at offset 0x${error.offset.toString(16)}`, error.got, error.want);
  }
}

export function malformedFirmware(where: string, got: string, want: string): MeasurementError {
  const hint = "get the file anew, and give it whole: not the part of it that holds variables";
  const details: Details = { where, got, want, hint };
  return new MeasurementError("malformed_firmware", "the firmware is damaged, or is another kind of file", details);
}
