import { z } from "zod";
import { decodePemCertificates } from "../pem.ts";
import type { SnpReport } from "../snp/report.ts";
import { EndorsementError } from "./error.ts";
import { type GetOptions, httpGet, type Network } from "./fetch.ts";

/**
 * Azure's trusted hardware identity management: it hands a VM the certificates of the chip that it runs on. The host
 * answers for this VM alone, so it is asked directly, whatever CONTRAST_COLLATERAL_PROXY says, and no answer is kept: it
 * changes with the host's firmware.
 */
export const THIM_URL = new URL("http://169.254.169.254/metadata/THIM/amd/certification");

/** Certificates, DER, VCEK first; or why there are none that go with the report. */
export type ThimAnswer = { readonly certificates: readonly Uint8Array[] } | { readonly ignored: string };

const schema = z.object({ vcekCert: z.string(), tcbm: z.string(), certificateChain: z.string() });

/** @throws EndorsementError vendor_unreachable anywhere but on Azure */
export async function fetchThimCertificates(
  report: SnpReport,
  network: Network,
  url: URL = THIM_URL,
  options: Omit<GetOptions, "headers"> = {},
): Promise<ThimAnswer> {
  const { body } = await httpGet(url, network, { ...options, headers: { Metadata: "true" } });
  try {
    const { vcekCert, tcbm, certificateChain } = schema.parse(JSON.parse(body.toString("utf8")));
    const reportedTcb = report.reportedTcb.toString(16).padStart(16, "0");
    // Between a change of firmware and THIM's notice of it, the certificate is of a key that did not sign.
    if (tcbm.toLowerCase() !== reportedTcb) {
      return {
        ignored: `THIM has the VCEK of the TCB ${JSON.stringify(tcbm.slice(0, 32))}, the report's is ${reportedTcb}`,
      };
    }
    const [vcek, chain] = [Buffer.from(vcekCert.trimEnd()), Buffer.from(certificateChain.trimEnd())];
    return {
      certificates: [...decodePemCertificates(vcek, "vcekCert"), ...decodePemCertificates(chain, "certificateChain")],
    };
  } catch (cause) {
    throw new EndorsementError("malformed_endorsement", "the answer is not what was asked for", {
      where: url.href,
      got: `${body.length} bytes of something else`,
      want: '{"vcekCert":PEM,"tcbm":hex,"certificateChain":PEM}',
      cause,
    });
  }
}
