import type { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { isDnsName } from "./endpoint.ts";

/**
 * Pinned names against the names of a certificate. As in the manifest (docs/design.md §6): an IP address is an IP SAN,
 * a URI is a URI SAN, the rest are DNS SANs.
 */

/** @returns the name, or undefined where no certificate can carry it */
export function parseSan(text: string): string | undefined {
  return isIP(text) !== 0 || isUri(text) || text === "*" || isDnsName(text) ? text : undefined;
}

/** RFC 3986 §3.1: a scheme, a colon, and something after it, in printable ASCII. */
function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:[!-~]+$/i.test(text);
}

/**
 * Whether the name itself is in the certificate. `*` stands for no other name here: it says that a workload may be called
 * by any host name, and nearly every workload has it. It does not say that this workload is all others.
 */
export function carriesSan(certificate: X509Certificate, san: string): boolean {
  if (isIP(san) !== 0) return certificate.checkIP(san) !== undefined;
  if (isUri(san)) return names(certificate).includes(`URI:${san}`);
  const wanted = `dns:${san.toLowerCase()}`;
  return names(certificate).some((name) => name.toLowerCase() === wanted);
}

/** With the kind before each; Node escapes commas inside a name: none can pose as two. */
function names(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? "").split(", ");
}
