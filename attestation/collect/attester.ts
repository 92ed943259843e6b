import { EvidenceError } from "../error.ts";
import type { Attester, Evidence, SnpEvidence, TdxEvidence } from "../evidence.ts";
import { parseSnpReport } from "../snp/report.ts";
import { parseTdxQuote } from "../tdx/quote.ts";
import type { Waiting } from "./busy.ts";
import { parseCertificateTable } from "./certificate-table.ts";
import { collectTsmReport } from "./configfs-tsm.ts";
import { collectSevGuestReport } from "./sev-guest.ts";

/** Attesters of a confidential VM, one for each interface of the kernel. */

export function tsmSnpAttester(dir: string, waiting: Waiting): Attester<SnpEvidence> {
  return hardwareAttester(async (reportData) => {
    const { outblob, auxblob } = await collectTsmReport(dir, reportData, waiting);
    return snpEvidence(outblob, auxblob, reportData, dir);
  });
}

export function sevGuestAttester(device: string, waiting: Waiting): Attester<SnpEvidence> {
  return hardwareAttester(async (reportData) => {
    const { report, certificateTable } = await collectSevGuestReport(device, reportData, waiting);
    return snpEvidence(report, certificateTable, reportData, device);
  });
}

export function tsmTdxAttester(dir: string, waiting: Waiting): Attester<TdxEvidence> {
  return hardwareAttester(async (reportData) => {
    const { outblob: quote } = await collectTsmReport(dir, reportData, waiting);
    checkReportData(parseTdxQuote(quote).body.reportData, reportData, dir);
    return { kind: "tdx", quote };
  });
}

/**
 * One request at a time. The kernel makes reports one after the other anyway, and those who wait there would take all
 * of Node's few threads away from files and name look-ups.
 */
function hardwareAttester<E extends Evidence>(collect: Attester<E>["collect"]): Attester<E> {
  let last: Promise<unknown> = Promise.resolve();
  return {
    insecure: undefined,
    collect: (reportData) => {
      const evidence = last.then(() => collect(reportData));
      last = evidence.catch(() => undefined);
      return evidence;
    },
  };
}

/** @throws EvidenceError malformed_report, unsupported_report_version, malformed_certificate, report_data_mismatch */
function snpEvidence(report: Buffer, table: Buffer, expected: Buffer, where: string): SnpEvidence {
  checkReportData(parseSnpReport(report).reportData, expected, where);
  return { kind: "snp", report, certificates: parseCertificateTable(table) };
}

function checkReportData(got: Buffer, expected: Buffer, where: string): void {
  if (got.equals(expected)) return;
  throw new EvidenceError("report_data_mismatch", "the kernel gave a report that was made for something else", {
    where,
    got: got.toString("hex"),
    want: expected.toString("hex"),
  });
}
