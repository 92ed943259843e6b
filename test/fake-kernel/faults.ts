/** For tests: what goes wrong in the fake kernel. The counts go down by one each time. */
export interface Faults {
  /** What answers in configfs-tsm; empty: nothing does. */
  provider: string;
  /** How often a report is refused with EBUSY. */
  busy: number;
  /** Whether reports are not given before this is over. */
  hold: boolean;
  /** How often somebody else writes into a request between its writing and its report. */
  races: number;
  /** How often the kernel does not take what was written. */
  lostWrites: number;
  /** What the host gives along. */
  certificates: "pem" | "der" | "issuers" | "none" | "no file" | "malformed";
  /** The size of the host's certificate table, in bytes, whole pages. */
  tableSize: number;
  /** The most that the driver takes for a certificate buffer, in bytes. */
  maxCertificateBuffer: number;
  /** Whether the driver knows requests for certificates. */
  extendedReports: boolean;
  /** How often the host says that there were too many requests. */
  rateLimited: number;
  /** What the firmware answers; 0: all is well. */
  firmwareError: number;
  /** The status in the response; 0: success. */
  status: number;
  /** What /dev/tdx_guest answers. */
  tdReport: "good" | "of others" | "refused";
}

export const NO_FAULTS: Readonly<Faults> = {
  provider: "sev_guest",
  busy: 0,
  hold: false,
  races: 0,
  lostWrites: 0,
  certificates: "pem",
  tableSize: 16 * 1024,
  maxCertificateBuffer: 16 * 1024,
  extendedReports: true,
  rateLimited: 0,
  firmwareError: 0,
  status: 0,
  tdReport: "good",
};

/** @returns whether it goes wrong this time */
export function spend(faults: Faults, count: "busy" | "races" | "lostWrites" | "rateLimited"): boolean {
  if (faults[count] === 0) return false;
  faults[count] -= 1;
  return true;
}
