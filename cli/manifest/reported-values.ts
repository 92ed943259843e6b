import { EvidenceError } from "../../attestation/error.ts";
import { productOfCpuid, type SnpProduct } from "../../attestation/snp/product.ts";
import type { SnpReport } from "../../attestation/snp/report.ts";
import { describeTcb, parseTcb, partBelow } from "../../attestation/snp/tcb.ts";
import type { TdBody } from "../../attestation/tdx/body.ts";
import { toHex } from "../../bytes/encode.ts";
import type { ReportedValues } from "./fill-sets.ts";

/** What reports say of the machine, as the manifest writes it; not of the guest's image, which `contrast measure` computes. */

/**
 * @param verified the product of the certificate; undefined: nothing was verified
 * @throws EvidenceError product_mismatch where nobody says which product it is
 */
export function snpValues(report: SnpReport, verified: SnpProduct | undefined): ReportedValues {
  const product = verified ?? (report.cpuid && productOfCpuid(report.cpuid));
  if (product === undefined) {
    throw new EvidenceError("product_mismatch", "the report does not say of which product it is", {
      where: "CPUID_FAM_ID",
      got: report.cpuid === undefined ? `a report of version ${report.version}` : JSON.stringify(report.cpuid),
      want: "Milan, Genoa or Turin",
      hint: "verify it, with the certificate of its key: the certificate says so",
    });
  }
  const reported = parseTcb(report.reportedTcb, product, "REPORTED_TCB");
  const others = { COMMITTED_TCB: report.committedTcb, LAUNCH_TCB: report.launchTcb };
  const warnings = Object.entries(others).flatMap(([field, value]) => {
    const tcb = parseTcb(value, product, field);
    if (partBelow(tcb, reported) === undefined) return [];
    return [`${field} of this guest is lower (${describeTcb(tcb)}): it would be refused until it is started anew`];
  });
  return {
    kind: "snp",
    product,
    warnings,
    values: {
      ProductName: product,
      MinimumTCB: {
        BootloaderVersion: reported.bootloader,
        TEEVersion: reported.tee,
        SNPVersion: reported.snp,
        MicrocodeVersion: reported.microcode,
        ...(product === "Turin" && { FMCVersion: reported.fmc }),
      },
    },
  };
}

/** @param rtmr0 whether RTMR0 is taken, too */
export function tdxValues(body: TdBody, rtmr0: boolean): ReportedValues {
  const newer = body.tdx15 !== undefined && Buffer.compare(body.tdx15.teeTcbSvn2, body.teeTcbSvn) !== 0;
  return {
    kind: "tdx",
    product: undefined,
    warnings: newer ? ["the TDX module was updated since this guest was started: take a quote of a new guest"] : [],
    values: {
      MrSeam: toHex(body.mrSeam),
      Xfam: toHex(body.xfam),
      MinimumTeeTcbSvn: toHex(body.teeTcbSvn),
      ...(rtmr0 && { Rtmrs: body.rtmrs.slice(0, 1).map(toHex) }),
    },
  };
}
