import { z } from "zod";
import { quote } from "../../../runtime/fault.ts";
import { EvidenceError } from "../../error.ts";

/** Numbers of JSON, which are bigints here, as the crate sev writes its integers and arrays. */
export const u8 = z.bigint().max(0xffn).transform(Number);
export const u32 = z.bigint().max(0xffff_ffffn).transform(Number);
export const u64 = z.bigint().max(0xffff_ffff_ffff_ffffn);

/** An array of bytes. */
export const octets = (length: number) =>
  z
    .array(u8)
    .length(length)
    .transform((numbers) => Buffer.from(numbers));

/** The first thing that is wrong, by its path: all of them can be thousands. */
export function malformed(root: string, { issues }: z.ZodError): EvidenceError {
  const [issue] = issues;
  const path = (issue?.path ?? []).map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`));
  return new EvidenceError("malformed_report", "the attestation agent's evidence has another form", {
    where: `${root}${path.join("")}`,
    got: quote(issue?.message ?? "something else"),
    want: "the fields that the crate sev 3.1 to 7.1 writes, and no others",
    hint: "guest-components 0.21 is known to answer what this program reads: use a guest image with that",
  });
}
