import type { Command } from "commander";
import type { Context } from "../context.ts";
import { examples, manifestOption } from "../options.ts";
import type { FillOptions } from "./fill.ts";

/** `contrast manifest …`: edits a manifest that is being written. */
export function addManifestCommand(program: Command, context: () => Context): void {
  const manifest = program.command("manifest").description("edit the manifest before it is set");
  manifest
    .command("fill")
    .description("fill in versions of firmware from a report of a machine that you trust")
    .requiredOption("--from-report <report>", "an attestation report of AMD SEV-SNP, or a quote of Intel TDX")
    .addOption(manifestOption())
    .option("--replace", "replace values that the manifest has already")
    .option("--rtmr0", "of a quote, take RTMR 0, too: it does not follow from files")
    .option("--vcek <cert>", "verify the report offline with the certificate of the chip's key")
    .option("--vlek <cert>", "  with the certificate of the cloud provider's key, instead")
    .option("--cert-table <auxblob>", "  certificate table, as the host supplied it to the guest")
    .option("--cert-chain <pem>", "  certificates of the issuers")
    .option("--crl <der>", "  the root's revocation list")
    .option("--tcb-info <json>", "verify the quote offline with Intel's TCB info for the platform")
    .option("--tcb-signing-chain <pem>", "  the certificates that signed it")
    .option("--qe-identity <json>", "  Intel's identity of the quoting enclave")
    .option("--pck-crl <der>", "  the revocation list of the platform's CA")
    .option("--root-ca-crl <der>", "  the revocation list of the root")
    .option("--unverified", "verify nothing: whoever made the file chooses the versions")
    .addHelpText(
      "after",
      examples(
        "contrast manifest fill --from-report report.bin",
        "contrast manifest fill --from-report report.bin --vcek vcek.der \\",
        "    --cert-chain chain.pem --crl crl.der",
        "contrast manifest fill --from-report quote.bin --rtmr0",
      ),
    )
    .action(async (options: FillOptions) => {
      const { fillManifest } = await import("./fill.ts");
      await fillManifest(context(), options);
    });
}
