import { isIpAddress } from "./ip-address.ts";

/** A subject alternative name (RFC 5280 §4.2.1.6) as a manifest writes it. `*` and `*.example` are DNS names. */
export interface San {
  readonly kind: "ip" | "uri" | "dns";
  readonly value: string;
}

/** A label of letters, digits and inner hyphens (RFC 1123 §2.1); underscores occur in the names of services. */
const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/**
 * IP addresses become IP names, `scheme://…` URI names, the rest DNS names.
 *
 * @returns undefined for what no certificate may carry
 */
export function parseSan(text: string): San | undefined {
  // An address with a zone is none: a zone means something on one host only, and an IP name has no room for it.
  if (isIpAddress(text)) return { kind: "ip", value: text };
  if (text.includes("://")) return isUri(text) ? { kind: "uri", value: text } : undefined;
  return isDnsName(text) ? { kind: "dns", value: text } : undefined;
}

/** Printable ASCII only, as IA5String asks for, and at most 2048 bytes, as SPIFFE allows. */
function isUri(text: string): boolean {
  return text.length <= 2048 && /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[!-~]+$/.test(text) && URL.canParse(text);
}

function isDnsName(text: string): boolean {
  if (text === "*") return true;
  // Four numbers are an IP address with a typing error, never a name.
  if (text.length > 253 || /^\d+(?:\.\d+){3}$/.test(text)) return false;
  return text
    .replace(/^\*\./, "")
    .split(".")
    .every((label) => LABEL.test(label));
}
