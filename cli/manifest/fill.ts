import { basename, dirname, join } from "node:path";
import { EvidenceError } from "../../attestation/error.ts";
import { parseSnpReport, REPORT_SIZE } from "../../attestation/snp/report.ts";
import { checkDebug as checkSnpDebug } from "../../attestation/snp/validate.ts";
import { parseTdxQuote } from "../../attestation/tdx/quote.ts";
import { checkDebug as checkTdxDebug } from "../../attestation/tdx/validate.ts";
import { parseManifestDraft } from "../../manifest/draft.ts";
import { type Context, printResult } from "../context.ts";
import { readEvidenceFile } from "../evidence/files.ts";
import { encodeManifestFile, withNotBefore } from "../generate/manifest-file.ts";
import { openValuesIn } from "../workspace/open-values.ts";
import { FILES, readInput, writeOutputs } from "../workspace/workspace.ts";
import { fillSets, type ReportedValues } from "./fill-sets.ts";
import { snpValues, tdxValues } from "./reported-values.ts";
import { type EndorsementOptions, verifyReport } from "./verify-report.ts";

/** The options of `contrast manifest fill` as commander gives them. Files are paths. */
export interface FillOptions extends EndorsementOptions {
  readonly fromReport: string;
  readonly manifest?: string;
  readonly replace?: true;
  readonly rtmr0?: true;
}

/**
 * Takes what a machine says about its firmware for the lowest that the manifest accepts. That is trust on first use: what
 * is wrong with this machine is right for all of them from then on.
 *
 * @throws CliError, EvidenceError, EndorsementError, ManifestError
 */
export async function fillManifest(context: Context, options: FillOptions): Promise<void> {
  const path = options.manifest ?? join(context.workspace, FILES.manifest);
  const before = parseManifestDraft(await readInput(path, "the manifest", "make it with `contrast generate`"));
  const bytes = await readEvidenceFile(options.fromReport, "the report", "malformed_report");
  const verified = await verifyReport(context, bytes, options);
  const values = valuesOf(bytes, verified?.kind === "snp" ? verified.product : undefined, options);
  const { sets, filled, kept } = fillSets(before.ReferenceValues, values, options.replace === true);
  const after = withNotBefore({ ...before, ReferenceValues: sets }, before, context.now());
  await writeOutputs(dirname(path), { [basename(path)]: encodeManifestFile(after) });

  const open = openValuesIn(after.ReferenceValues, ["ReferenceValues"]).map(({ where, want }) => `${where}: ${want}`);
  for (const warning of values.warnings) context.warn(`warning: ${warning}`);
  if (verified?.kind === "tdx" && verified.tcbStatus !== "UpToDate") {
    context.warn(`warning: Intel says ${verified.tcbStatus}: without AllowedTcbStatuses the machine is refused`);
  }
  if (verified === undefined) context.warn("warning: nothing was verified: whoever made the file chose these versions");
  context.talk(
    "the versions of this machine are now the lowest to accept: trust on first use. Compare them with what the vendor recommends",
  );
  printResult(context, false, {
    result: "filled",
    manifest: path,
    verified: verified !== undefined,
    filled,
    ...(kept.length > 0 && { "kept, for --replace was not given": kept }),
    ...(open.length > 0 && { "still open": open }),
  });
}

/** @throws EvidenceError */
function valuesOf(bytes: Buffer, product: Parameters<typeof snpValues>[1], { rtmr0 }: FillOptions): ReportedValues {
  if (bytes.length === REPORT_SIZE) {
    const report = parseSnpReport(bytes);
    checkSnpDebug(report, false);
    if (rtmr0 !== undefined) {
      throw new EvidenceError("malformed_report", "an SNP report has no RTMR", { got: "--rtmr0", want: "a TDX quote" });
    }
    return snpValues(report, product);
  }
  const quote = parseTdxQuote(bytes);
  checkTdxDebug(quote.body, false);
  return tdxValues(quote.body, rtmr0 === true);
}
