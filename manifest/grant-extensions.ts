import { refusing } from "../attestation/malformed.ts";
import { type Certificate, parseCertificate } from "../attestation/x509.ts";
import { fromUtf8, toUtf8 } from "../bytes/encode.ts";
import { readDer, TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";

/**
 * What the manifest granted to a workload when it issued the certificate, as UTF8String extensions of the leaf under the
 * arc beside those of the claims: by which policy, and which secrets. They let who has the mesh CA in force decide by them
 * without evidence, and mean nothing under another mesh CA.
 */
const ARC = "1.3.9901.2.4";
const POLICY = `${ARC}.1`;
const WORKLOAD_SECRET_ID = `${ARC}.2`;

export interface Granted {
  /** SHA-256 of the policy, hex. */
  readonly policy: string;
  /** Undefined: it has no secrets, and the extension is not there. */
  readonly workloadSecretId: string | undefined;
}

/** @returns object identifier to DER */
export function grantExtensions({ policy, workloadSecretId }: Granted): ReadonlyMap<string, Uint8Array> {
  const utf8 = (value: string): Uint8Array => encodeDer(TAG.utf8String, fromUtf8(value));
  return new Map([
    [POLICY, utf8(policy)],
    ...(workloadSecretId === undefined ? [] : ([[WORKLOAD_SECRET_ID, utf8(workloadSecretId)]] as const)),
  ]);
}

/**
 * @param certificate DER, or parsed
 * @returns undefined where it names no policy
 * @throws EvidenceError malformed_certificate
 */
export function grantOf(certificate: Uint8Array | Certificate): Granted | undefined {
  const { extensions } = certificate instanceof Uint8Array ? parseCertificate(certificate) : certificate;
  const [policy, workloadSecretId] = [POLICY, WORKLOAD_SECRET_ID].map((oid) => {
    const extension = extensions.get(oid);
    if (extension === undefined) return undefined;
    const { value, valueOffset } = extension;
    return refusing("malformed_certificate", () =>
      readDer(value, oid, (der) => toUtf8(der.element(TAG.utf8String, oid).content), valueOffset),
    );
  });
  return policy === undefined ? undefined : { policy, workloadSecretId };
}
