import { constants, type KeyObject, verify } from "node:crypto";
import { EvidenceError } from "../error.ts";
import { onceTrue } from "../memoize.ts";
import type { IsSignedBy } from "../path.ts";
import { type Certificate, publicKeyOf } from "../x509.ts";

/**
 * AMD signs certificates and revocation lists with RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48, by RSA keys of 4096
 * bits (AMD publication 57230), and nothing else passes here. X509Certificate.verify() of Node takes the algorithm from
 * the certificate, that is from the attacker: it accepts a PKCS#1 v1.5 or a SHA-256 signature.
 */
const SALT_LENGTH = 48;
const MODULUS_LENGTH = 4096;

/**
 * AlgorithmIdentifier (RFC 4055 §3.1) as a whole: rsassaPss with [0] sha384 NULL, [1] mgf1 with sha384 NULL, [2] 48. The
 * second writes out the default of the last parameter, [3] trailerField 1, as AMD's certificates up to 2022 do.
 */
export const PSS_SHA384 = Buffer.from(
  "304106092a864886f70d01010a3034a00f300d06096086480165030402020500" +
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130",
  "hex",
);
const PSS_SHA384_WITH_TRAILER = Buffer.from(
  "304606092a864886f70d01010a3039a00f300d06096086480165030402020500" +
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101",
  "hex",
);

/**
 * Whether `issuer` signed it.
 *
 * @param what its name, for the error
 * @throws EvidenceError certificate_algorithm where the algorithm or the issuer's key is not AMD's
 */
export const isSignedBy: IsSignedBy = onceTrue((signed, issuer, what) => {
  const { signatureAlgorithm } = signed;
  if (!signatureAlgorithm.equals(PSS_SHA384) && !signatureAlgorithm.equals(PSS_SHA384_WITH_TRAILER)) {
    throw new EvidenceError("certificate_algorithm", "a signature algorithm that AMD does not use", {
      where: `${what}, signatureAlgorithm`,
      got: signatureAlgorithm.toString("hex"),
      want: "RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt 48",
    });
  }
  const key = {
    key: rsaKey(issuer),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    // An exact length: without it any salt is accepted. MGF1 takes the digest of the signature.
    saltLength: SALT_LENGTH,
  };
  return verify("sha384", signed.tbs, key, signed.signature);
});

function rsaKey(certificate: Certificate): KeyObject {
  const key = publicKeyOf(certificate);
  // Large keys make slow verifications, small ones forgeable signatures.
  if (key.asymmetricKeyType !== "rsa" || key.asymmetricKeyDetails?.modulusLength !== MODULUS_LENGTH) {
    throw new EvidenceError("certificate_algorithm", "a CA key that AMD does not use", {
      where: `${certificate.commonName}, subjectPublicKeyInfo`,
      got: `${key.asymmetricKeyType ?? "?"} ${key.asymmetricKeyDetails?.modulusLength ?? ""}`,
      want: `rsa ${MODULUS_LENGTH}`,
    });
  }
  return key;
}
