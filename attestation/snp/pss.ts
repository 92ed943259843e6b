import { MalformedBytes } from "../../bytes/cursor.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { hexBytes } from "../../bytes/hex.ts";
import { verifyPss } from "../../crypto/node.ts";
import { type PublicKeyInfo, readSpki } from "../../pki/spki.ts";
import { EvidenceError } from "../error.ts";
import { onceTrue } from "../memoize.ts";
import type { IsSignedBy } from "../path.ts";
import { type Certificate } from "../x509.ts";

/**
 * AMD signs certificates and revocation lists with RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48, by RSA keys of 4096
 * bits and exponent 65537 (AMD publication 57230), and nothing else passes here. X509Certificate.verify() of Node takes the algorithm from
 * the certificate, that is from the attacker: it accepts a PKCS#1 v1.5 or a SHA-256 signature.
 */
const SALT_LENGTH = 48;
const MODULUS_LENGTH = 4096;
const PUBLIC_EXPONENT = 65_537n;

/**
 * AlgorithmIdentifier (RFC 4055 §3.1) as a whole: rsassaPss with [0] sha384 NULL, [1] mgf1 with sha384 NULL, [2] 48. The
 * second writes out the default of the last parameter, [3] trailerField 1, as AMD's certificates up to 2022 do.
 */
export const PSS_SHA384 = hexBytes(
  "304106092a864886f70d01010a3034a00f300d06096086480165030402020500" +
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130",
);
const PSS_SHA384_WITH_TRAILER = hexBytes(
  "304606092a864886f70d01010a3039a00f300d06096086480165030402020500" +
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101",
);

/**
 * Whether `issuer` signed it.
 *
 * @param what its name, for the error
 * @throws EvidenceError certificate_algorithm where the algorithm or the issuer's key is not AMD's
 */
export const isSignedBy: IsSignedBy = onceTrue((signed, issuer, what) => {
  const { signatureAlgorithm } = signed;
  if (!isEqual(signatureAlgorithm, PSS_SHA384) && !isEqual(signatureAlgorithm, PSS_SHA384_WITH_TRAILER)) {
    throw new EvidenceError("certificate_algorithm", "a signature algorithm that AMD does not use", {
      where: `${what}, signatureAlgorithm`,
      got: toHex(signatureAlgorithm),
      want: "RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt 48",
    });
  }
  return verifyPss("sha384", SALT_LENGTH, rsaKey(issuer), signed.tbs, signed.signature);
});

function rsaKey({ commonName, spki }: Certificate): Uint8Array {
  const info = readKey(spki);
  // Large keys and exponents make slow verifications, small ones forgeable signatures.
  if (info?.kind === "rsa" && info.bits === MODULUS_LENGTH && info.exponent === PUBLIC_EXPONENT) return spki;
  throw new EvidenceError("certificate_algorithm", "a CA key that AMD does not use", {
    where: `${commonName}, subjectPublicKeyInfo`,
    got: describeKey(info),
    want: `rsa ${MODULUS_LENGTH}, exponent ${PUBLIC_EXPONENT}`,
  });
}

function readKey(spki: Uint8Array): PublicKeyInfo | undefined {
  try {
    return readSpki(spki);
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}

function describeKey(info: PublicKeyInfo | undefined): string {
  if (info === undefined) return "another algorithm, or no key";
  // The sender chooses the exponent, and how long it is.
  if (info.kind === "rsa")
    return `rsa ${info.bits}, exponent ${info.exponent < 2n ** 64n ? info.exponent : "above 2^64"}`;
  return `ec ${info.curve}`;
}
