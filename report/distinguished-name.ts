import { toHex, toLatin1, toUtf8 } from "../bytes/encode.ts";
import { type DerReader, readDer, TAG } from "../pki/der.ts";

/** Short names of attributes, as OpenSSL has them. */
const NAMES: Readonly<Record<string, string>> = {
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
  "2.5.4.3": "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "2.5.4.42": "GN",
  "2.5.4.43": "initials",
  "2.5.4.46": "dnQualifier",
};

/**
 * A Name (RFC 5280 §4.1.2.4) as people compare it: `CN=SEV-Milan, O=Advanced Micro Devices`, in the order of the certificate.
 * Characters that would look like its form are escaped as RFC 2253 has it.
 *
 * @param der of a certificate that was parsed @throws MalformedBytes
 */
export function distinguishedName(der: Uint8Array): string {
  const attribute = (reader: DerReader): string =>
    reader.sequence("AttributeTypeAndValue", (pair) => {
      const type = pair.oid("type");
      return `${NAMES[type] ?? type}=${escape(valueOf(pair))}`;
    });
  return readDer(der, "name", (name) =>
    name.many(TAG.sequence, "name", (rdns) => rdns.many(TAG.set, "RelativeDistinguishedName", attribute).join(" + ")),
  ).join(", ");
}

const BMP_STRING = 0x1e;
const UNIVERSAL_STRING = 0x1c;

/** DirectoryString and the other types of strings. What is of another type, is shown byte by byte. */
function valueOf(der: DerReader): string {
  const tag = der.next ?? TAG.utf8String;
  const { content } = der.element(tag, "value");
  if (tag === TAG.utf8String) return toUtf8(content);
  const size = { [BMP_STRING]: 2, [UNIVERSAL_STRING]: 4 }[tag] ?? 1;
  if (size === 1) return toLatin1(content);
  return Array.from({ length: Math.floor(content.length / size) }, (_, at) => {
    const code = Number(`0x${toHex(content.subarray(at * size, (at + 1) * size))}`);
    return code <= 0x10ffff ? String.fromCodePoint(code) : "\u{fffd}";
  }).join("");
}

function escape(text: string): string {
  return Array.from(text)
    .map((character, index, all) => {
      const isAtEnd = index === all.length - 1;
      if (',+"\\<>;'.includes(character)) return `\\${character}`;
      if (character === " " && (index === 0 || isAtEnd)) return "\\ ";
      if (character === "#" && index === 0 && !isAtEnd) return "\\#";
      const code = character.charCodeAt(0);
      return code < 0x20 || code === 0x7f ? `\\${toHex(Uint8Array.of(code)).toUpperCase()}` : character;
    })
    .join("");
}
