import { isEqual, toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import { EndorsementError } from "../endorsements/error.ts";
import type { Network } from "../endorsements/fetch.ts";
import { fetchThimCertificates, THIM_URL } from "../endorsements/thim.ts";
import type { Attester, Evidence, SnpEvidence, TdxEvidence } from "../evidence.ts";
import { parseSnpReport, type SnpReport } from "../snp/report.ts";
import { parseTdxQuote } from "../tdx/quote.ts";
import { parseCertificateTable } from "./certificate-table.ts";
import { type CocoApi, fetchCocoEvidence } from "./coco/api.ts";
import { readCocoEvidence } from "./coco/evidence-json.ts";
import { collectTsmReport } from "./configfs-tsm.ts";
import { collectSevGuestReport } from "./sev-guest.ts";

/** Attesters of a confidential VM, one for each interface of the kernel, and one for the guest's attestation agent. */

export function tsmSnpAttester(dir: string, network: Network): Attester<SnpEvidence> {
  return hardwareAttester(async (reportData) => {
    const { outblob, auxblob } = await collectTsmReport(dir, reportData, network);
    return snpEvidence(outblob, parseCertificateTable(auxblob), reportData, dir, network);
  });
}

export function sevGuestAttester(device: string, network: Network): Attester<SnpEvidence> {
  return hardwareAttester(async (reportData) => {
    const { report, certificateTable } = await collectSevGuestReport(device, reportData, network);
    return snpEvidence(report, parseCertificateTable(certificateTable), reportData, device, network);
  });
}

export function tsmTdxAttester(dir: string, network: Network): Attester<TdxEvidence> {
  return hardwareAttester(async (reportData) => {
    const { outblob: quote } = await collectTsmReport(dir, reportData, network);
    checkReportData(parseTdxQuote(quote).body.reportData, reportData, dir);
    return { kind: "tdx", quote };
  });
}

/** @throws what `api.through` throws, too, where the API can't be kept from others */
export function cocoAttester(api: CocoApi, network: Network): Attester {
  return hardwareAttester(async (reportData) => {
    const evidence = readCocoEvidence(await fetchCocoEvidence(api, reportData));
    if (evidence.kind === "snp") {
      return snpEvidence(evidence.report, evidence.certificates, reportData, api.address, network);
    }
    checkReportData(parseTdxQuote(evidence.quote).body.reportData, reportData, api.address);
    return evidence;
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
async function snpEvidence(
  bytes: Uint8Array,
  certificates: readonly Uint8Array[],
  expected: Uint8Array,
  where: string,
  network: Network,
): Promise<SnpEvidence> {
  const report = parseSnpReport(bytes);
  checkReportData(report.reportData, expected, where);
  if (certificates.length > 0) return { kind: "snp", report: bytes, certificates };
  return { kind: "snp", report: bytes, certificates: await azureCertificates(report, network) };
}

/** Azure's hosts give no certificates along with a report, but a service of theirs has them. */
async function azureCertificates(report: SnpReport, network: Network): Promise<readonly Uint8Array[]> {
  try {
    const answer = await fetchThimCertificates(report, network, THIM_URL, { tries: 1, deadline: 1000 });
    return "certificates" in answer ? answer.certificates : [];
  } catch (error) {
    // Everywhere else there is no such service. The verifier finds the certificates itself.
    if (error instanceof EndorsementError) return [];
    throw error;
  }
}

function checkReportData(got: Uint8Array, expected: Uint8Array, where: string): void {
  if (isEqual(got, expected)) return;
  throw new EvidenceError("report_data_mismatch", "the report was made for something else", {
    where,
    got: toHex(got),
    want: toHex(expected),
  });
}
