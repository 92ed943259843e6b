import { toHex } from "../bytes/encode.ts";
import { readTdReport } from "./collect/tdx-guest.ts";
import type { Attester } from "./evidence.ts";
import type { Identity } from "./identity.ts";
import { checkReportData } from "./report-data.ts";
import { snpLaunch } from "./snp/identity.ts";
import { parseSnpReport } from "./snp/report.ts";
import { tdxLaunch } from "./tdx/identity.ts";
import { policyHashOf } from "./tdx/policy-hash.ts";

export interface OwnIdentityOptions {
  readonly attester: Attester;
  /** `/dev/tdx_guest`. */
  readonly tdxGuestDevice: string;
  readonly random: (length: number) => Uint8Array;
}

/**
 * What the VM is that this program runs in, by what the host can't change on the way: whoever compares others with it
 * would otherwise be told by the host what he is.
 *
 * - SNP: the secure processor answers the VM over a channel that the host can't read (guest messages of the
 *   SEV-SNP firmware ABI, encrypted with a key of the VM's own).
 * - TDX: a quote is made outside the VM, and the host may answer with one that another TD had made over the same report
 *   data. The TDREPORT comes from the TDX module.
 *
 * @throws EvidenceError where the TEE does not answer; `tee_unavailable` for a TD without the device
 */
export async function ownIdentity({ attester, tdxGuestDevice, random }: OwnIdentityOptions): Promise<Identity> {
  const reportData = random(64);
  const evidence = await attester.collect(reportData);
  if (evidence.kind === "tdx") {
    const report = await readTdReport(tdxGuestDevice, reportData);
    return { kind: "tdx", policyHash: policyHashOf(report.mrConfigId), ...tdxLaunch(report) };
  }
  const report = parseSnpReport(evidence.report);
  checkReportData(report, reportData);
  return { kind: "snp", policyHash: toHex(report.hostData), ...snpLaunch(report) };
}
