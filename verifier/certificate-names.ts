import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex, toLatin1 } from "../bytes/encode.ts";
import { refusing } from "../attestation/malformed.ts";
import type { Certificate } from "../attestation/x509.ts";
import { type DerReader, readDer } from "../pki/der.ts";

/** A name that a certificate vouches for. */
export interface CertificateName {
  readonly kind: "dns" | "ip" | "uri";
  /** An IPv6 address in eight groups. */
  readonly value: string;
}

const SUBJECT_ALT_NAME = "2.5.29.17";

/**
 * The subjectAltName (RFC 5280 §4.2.1.6) with the kinds that a Coordinator issues, and no other.
 *
 * @throws EvidenceError malformed_certificate
 */
export function namesOf({ extensions }: Certificate): readonly CertificateName[] {
  const extension = extensions.get(SUBJECT_ALT_NAME);
  if (extension === undefined) return [];
  return refusing("malformed_certificate", () =>
    readDer(
      extension.value,
      SUBJECT_ALT_NAME,
      (der) =>
        der.sequence("GeneralNames", (names) => {
          const all: CertificateName[] = [];
          while (names.next !== undefined) all.push(readName(names));
          return all;
        }),
      extension.valueOffset,
    ),
  );
}

/** Implicit, primitive, context-specific: dNSName [2], uniformResourceIdentifier [6], iPAddress [7]. */
function readName(der: DerReader): CertificateName {
  const { offset, next = 0 } = der;
  const { content } = der.element(next, "GeneralName");
  if (next === 0x82 || next === 0x86) {
    const value = toLatin1(content);
    if (!/^[\x21-\x7e]+$/.test(value)) {
      throw new MalformedBytes("GeneralName", offset, JSON.stringify(value), "visible characters of ASCII");
    }
    return { kind: next === 0x82 ? "dns" : "uri", value };
  }
  if (next === 0x87 && content.length === 4) return { kind: "ip", value: [...content].join(".") };
  if (next === 0x87 && content.length === 16)
    return { kind: "ip", value: toHex(content).replace(/(.{4})(?=.)/g, "$1:") };
  const got = next === 0x87 ? `an address of ${content.length} bytes` : `tag 0x${next.toString(16)}`;
  throw new MalformedBytes("GeneralName", offset, got, "a DNS name, a URI or an IP address");
}
