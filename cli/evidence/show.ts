import { EvidenceError } from "../../attestation/error.ts";
import { parseSnpReport, REPORT_SIZE } from "../../attestation/snp/report.ts";
import { parseTdxQuote } from "../../attestation/tdx/quote.ts";
import { parseTdReport } from "../../attestation/tdx/tdreport.ts";
import { toHex } from "../../bytes/encode.ts";
import { littleEndian } from "../../bytes/numbers.ts";
import type { Context } from "../context.ts";
import { readEvidenceFile } from "./files.ts";
import { type Fields, render } from "../../report/print.ts";
import { describeSnpReport } from "../../report/snp-fields.ts";
import { describeTdReport, describeTdxQuote } from "../../report/tdx-fields.ts";

/** `contrast evidence show`: what a report, a quote or a TDREPORT says. Nothing of it is verified. */
export async function showEvidence(context: Context, path: string): Promise<void> {
  const bytes = await readEvidenceFile(path, "the evidence", "malformed_report");
  context.out(render(describeEvidence(bytes), context.format));
}

/**
 * All fields by the names of their specification.
 *
 * @throws EvidenceError
 */
export function describeEvidence(bytes: Uint8Array): Fields {
  const kind = detect(bytes);
  if (kind === "snp-report") return { kind, ...describeSnpReport(parseSnpReport(bytes)) };
  if (kind === "tdx-quote") return { kind, ...describeTdxQuote(parseTdxQuote(bytes)) };
  return { kind, ...describeTdReport(parseTdReport(bytes), bytes) };
}

const TDREPORT_SIZE = 1024;
const TEE_TDX = 0x81;

/** By the size where it is the only one possible, so that a file with a wrong version is still told what is wrong. */
function detect(bytes: Uint8Array): "snp-report" | "tdx-quote" | "tdreport" {
  if (bytes.length === REPORT_SIZE) return "snp-report";
  if (bytes.length === TDREPORT_SIZE) return "tdreport";
  if (bytes.length >= 8) {
    // Of a quote: attestation key type and TEE type. A report has the upper half of its version there.
    if (littleEndian(bytes, 2, 2) === 2 || littleEndian(bytes, 4, 4) === TEE_TDX) return "tdx-quote";
    const version = littleEndian(bytes, 0, 4);
    if (version >= 2 && version <= 5) return "snp-report";
    if (bytes[0] === TEE_TDX) return "tdreport";
  }
  throw new EvidenceError("malformed_report", "this is no evidence that is known", {
    where: "offset 0x0",
    got: `${bytes.length} bytes, beginning with ${toHex(bytes.subarray(0, 8)) || "nothing"}`,
    want: `an SNP report (${REPORT_SIZE} bytes), a TDX quote of version 4 or 5, or a TDREPORT (${TDREPORT_SIZE} bytes)`,
  });
}
