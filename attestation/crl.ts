import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { TAG } from "../pki/der.ts";
import { refusing } from "./malformed.ts";
import { type ParsedExtensions, readExtensions, readSigned, type Signed } from "./x509.ts";

/** A certificate revocation list, version 2 (RFC 5280 §5), parsed to the last byte. Nothing is verified here. */
export interface RevocationList extends Signed {
  /** Name, DER. */
  readonly issuer: Uint8Array;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Serial numbers, hex. */
  readonly revoked: ReadonlySet<string>;
}

/** @throws EvidenceError malformed_crl */
export function parseRevocationList(der: Uint8Array): RevocationList {
  return refusing("malformed_crl", () =>
    readSigned(der, "CertificateList", (tbs, algorithm) => {
      const { offset } = tbs;
      const version = tbs.byte("version");
      if (version !== 1) throw new MalformedBytes("version", offset, `${version}`, "1 (v2)");
      algorithm(tbs);
      const { encoding: issuer } = tbs.element(TAG.sequence, "issuer");
      const thisUpdate = tbs.time("thisUpdate");
      const nextUpdate = tbs.time("nextUpdate");
      const revoked =
        tbs.next === TAG.sequence
          ? tbs.many(TAG.sequence, "revokedCertificates", (list) =>
              list.sequence("revokedCertificate", (entry) => {
                const serial = toHex(entry.integer("userCertificate"));
                entry.time("revocationDate");
                if (entry.next !== undefined) refuseCritical(readExtensions(entry, "crlEntryExtensions"));
                return serial;
              }),
            )
          : [];
      if (tbs.next !== undefined) {
        refuseCritical(tbs.nested(TAG.context(0), "crlExtensions", (der) => readExtensions(der, "crlExtensions")));
      }
      return { issuer, thisUpdate, nextUpdate, revoked: new Set(revoked) };
    }),
  );
}

/** A critical extension changes what the list means: a delta or an indirect list must not pass for a complete one. */
function refuseCritical(extensions: ParsedExtensions): void {
  for (const [id, { critical, offset }] of extensions) {
    if (critical) throw new MalformedBytes(id, offset, "a critical extension that is not known", "none");
  }
}
