import { z } from "zod";
import { toLatin1, toUtf8 } from "../../../bytes/encode.ts";
import { quote } from "../../../runtime/fault.ts";
import { EvidenceError } from "../../error.ts";
import { refusing } from "../../malformed.ts";
import { decodeCertificate, MAX_CERTIFICATE_SIZE } from "../certificate-table.ts";
import { malformed, u8 } from "./numbers.ts";
import { reportFromJson } from "./report-json.ts";

/**
 * What CoCo's attestation agent answers to `/aa/evidence`: one JSON document, whose form depends on its attester
 * (guest-components, attestation-agent/attester/src/snp/mod.rs and tdx/mod.rs). Nothing in it is trusted.
 */
export type CocoEvidence =
  | { readonly kind: "snp"; readonly report: Uint8Array; readonly certificates: readonly Uint8Array[] }
  | { readonly kind: "tdx"; readonly quote: Uint8Array };

const snpSchema = z.strictObject({
  attestation_report: z.unknown(),
  cert_chain: z
    .array(
      z.strictObject({
        // What the crate sev calls the entries of the host's table; others carry their GUID.
        cert_type: z.union([
          z.enum(["Empty", "ARK", "ASK", "VCEK", "VLEK", "CRL"]),
          z.strictObject({ OTHER: z.string() }),
        ]),
        data: z.array(u8).max(MAX_CERTIFICATE_SIZE),
      }),
    )
    .max(64)
    .nullable(),
});
// The event logs are of no use: what they say is in the RTMRs, and those are compared. Before 0.17 there were two.
const tdxSchema = z.strictObject({
  cc_eventlog: z.string().nullable(),
  aa_eventlog: z.string().nullable().optional(),
  quote: z.base64(),
});

/** Those that belong to a chain. */
const CHAIN = ["ARK", "ASK", "VCEK", "VLEK"] as const;

/** @throws EvidenceError malformed_report, unsupported_report_version, malformed_certificate */
export function readCocoEvidence(body: Uint8Array): CocoEvidence {
  const json = readBigJson(body);
  if (typeof json === "object" && json !== null) {
    if ("attestation_report" in json) return readSnp(json);
    if ("quote" in json) {
      const parsed = tdxSchema.safeParse(json);
      if (!parsed.success) throw malformed("$", parsed.error);
      return { kind: "tdx", quote: Buffer.from(parsed.data.quote, "base64") };
    }
  }
  const isSample = typeof json === "object" && json !== null && "svn" in json && "report_data" in json;
  throw unknownForm(
    isSample ? "a sample, which the agent makes where it finds no TEE" : describeKeys(json),
    isSample
      ? "the guest's attestation agent has no attester for this VM, or this is none"
      : "Azure's vTPM, SGX, CCA and others are not supported",
  );
}

function readSnp(json: object): CocoEvidence {
  const parsed = snpSchema.safeParse(json);
  if (!parsed.success) throw malformed("$", parsed.error);
  const report = reportFromJson(parsed.data.attestation_report);
  const certificates = (parsed.data.cert_chain ?? []).flatMap(({ cert_type: type, data }) => {
    const kind = CHAIN.find((name) => name === type);
    if (kind === undefined || data.length === 0) return [];
    const field = `cert_chain, ${kind}`;
    return [refusing("malformed_certificate", () => decodeCertificate(Buffer.from(data), field, 0))];
  });
  return { kind: "snp", report, certificates };
}

/** JSON whose numbers are bigints: a u64 does not fit into a double. @throws EvidenceError malformed_report */
function readBigJson(body: Uint8Array): unknown {
  const exact = (_key: string, value: unknown, context?: { readonly source?: string }): unknown => {
    if (typeof value !== "number") return value;
    const source = context?.source ?? "";
    // What the schema says about nothing names the place.
    return /^(?:0|[1-9]\d{0,19})$/.test(source) ? BigInt(source) : undefined;
  };
  try {
    return JSON.parse(toUtf8(body), exact);
  } catch {
    throw unknownForm(quote(toLatin1(body.subarray(0, 60))), "see the log of the guest's api-server-rest");
  }
}

function describeKeys(json: unknown): string {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return "no object";
  return `the fields ${quote(Object.keys(json).join(", "))}`;
}

function unknownForm(got: string, hint: string): EvidenceError {
  return new EvidenceError("malformed_report", "this is no evidence that can be verified", {
    where: "/aa/evidence",
    got,
    want: "the JSON of an SNP report, or of a TDX quote",
    hint,
  });
}
