import { type Command, InvalidArgumentError, Option } from "commander";
import { SNP_PRODUCTS } from "../../attestation/snp/product.ts";
import { ALLOWABLE_TCB_STATUSES } from "../../attestation/tdx/tcb-status.ts";
import { fromHex } from "../../bytes/hex.ts";
import type { Context } from "../context.ts";
import type { EvidenceOptions } from "./request.ts";
import { collect, examples } from "../options.ts";

/** `contrast evidence …`, for auditors. */

/** @param exit is told the exit code of a verdict */
export function addEvidenceCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  const evidence = program.command("evidence").description("read and verify evidence in files, without a network");
  evidence
    .command("show")
    .description("print every field of an SNP report, a TDX quote or a TDREPORT; verifies nothing")
    .argument("<file>", "the evidence, as the firmware or the kernel supplied it")
    .addHelpText(
      "after",
      examples("contrast evidence show report.bin", "contrast --output json evidence show quote.bin"),
    )
    .action(async (file: string) => {
      const { showEvidence } = await import("./show.ts");
      await showEvidence(context(), file);
    });
  evidence
    .command("verify")
    .description("verify a report or a quote up to the vendor's root; certificates and lists may be PEM or DER")
    .option("--snp <report>", "an attestation report of AMD SEV-SNP, with these:")
    .option("--vcek <cert>", "  the certificate of the chip's key")
    .option("--vlek <cert>", "  the certificate of the cloud provider's key, instead")
    .option("--cert-table <auxblob>", "  certificate table, as the host supplied it to the guest")
    .option("--cert-chain <pem>", "  certificates of the issuers")
    .option("--crl <der>", "  the root's revocation list; without it, revocation is not checked")
    .addOption(new Option("--product <name>", "  the required product").choices(SNP_PRODUCTS))
    .option("--tdx <quote>", "a quote of Intel TDX, with all of these:")
    .option("--tcb-info <json>", "  Intel's TCB info for the platform, byte for byte")
    .option("--tcb-signing-chain <pem>", "  the certificates that signed it")
    .option("--qe-identity <json>", "  Intel's identity of the quoting enclave, byte for byte")
    .option("--pck-crl <der>", "  the revocation list of the platform's CA")
    .option("--root-ca-crl <der>", "  the revocation list of the root")
    .addOption(new Option("--at <time>", "time of verification, RFC 3339 (default: now)").argParser(parseTime))
    .option("-m, --manifest <file>", "manifest that must match the evidence and list its policy")
    .addOption(new Option("--report-data <hex>", "the required report data").argParser(parseReportData))
    .option("--trust-anchor <cert>", "trust this root instead of the vendor's (repeatable)", collect)
    .addOption(
      new Option("--allow-tcb-status <name>", "TCB status to accept beside UpToDate (repeatable)")
        .choices(ALLOWABLE_TCB_STATUSES)
        .argParser(collectTcbStatus),
    )
    .option("--allow-debug", "accept a VM that the host may debug")
    .addHelpText(
      "after",
      examples(
        "contrast evidence verify --snp report.bin --vcek vcek.der \\",
        "    --cert-chain chain.pem",
        "contrast evidence verify --snp report.bin --vlek vlek.der \\",
        "    --cert-chain chain.pem --crl crl.der -m manifest.json \\",
        "    --at 2026-06-01T12:00:00Z",
        "contrast evidence verify --tdx quote.bin --tcb-info tcb-info.json \\",
        "    --tcb-signing-chain signing.pem --qe-identity qe-identity.json \\",
        "    --pck-crl pck.crl --root-ca-crl root.crl",
      ),
    )
    .action(async (options: EvidenceOptions) => {
      const { verifyEvidence } = await import("./verify.ts");
      exit(await verifyEvidence(context(), options));
    });
}

/** Revoked is a name of Intel's, so it is no mistake; it never passes. */
function collectTcbStatus(name: string, before: readonly string[] = []): readonly string[] {
  const known = ["UpToDate", ...ALLOWABLE_TCB_STATUSES, "Revoked"];
  if (!known.includes(name)) throw new InvalidArgumentError(`Want one of ${known.join(", ")}.`);
  return [...before, name];
}

function parseReportData(text: string): Uint8Array {
  const bytes = fromHex(text, 64);
  if (bytes === undefined) throw new InvalidArgumentError("Want 64 bytes, that is 128 hexadecimal digits.");
  return bytes;
}

const RFC_3339 =
  /^(\d{4})-(\d\d)-(\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

function parseTime(text: string): Date {
  const [matched, year = "", month = "", day = ""] = RFC_3339.exec(text.toUpperCase()) ?? [];
  const time = new Date(matched ?? Number.NaN);
  // Node takes 30 February for 2 March.
  const sameDay = new Date(`${year}-${month}-${day}T00:00:00Z`).getUTCDate() === Number(day);
  if (matched !== undefined && sameDay && !Number.isNaN(time.getTime())) return time;
  throw new InvalidArgumentError("Want a time like 2026-06-01T12:00:00Z.");
}
