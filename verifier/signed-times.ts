import { parseRevocationList } from "../attestation/crl.ts";
import type { Evidence } from "../attestation/evidence.ts";
import type { SignedTime } from "../attestation/signed-time.ts";
import type { VerifiedEvidence } from "../attestation/tee.ts";
import { parseCertificate } from "../attestation/x509.ts";
import { toUtf8 } from "../bytes/encode.ts";

/**
 * @returns the newest time that the vendor signed in what vouches for the evidence and comes beside it. A PCK certificate is
 *   in its quote, so it does not count
 */
export function newestSigned({ kind, path, signedTimes }: VerifiedEvidence): SignedTime {
  const [leaf] = kind === "snp" ? path : [];
  const leafTimes = leaf && [{ what: `notBefore of the certificate of ${leaf.commonName}`, time: leaf.notBefore }];
  const newest = newestOf([...(leafTimes ?? []), ...signedTimes]);
  if (newest === undefined) throw new RangeError("verified evidence without a signed time");
  return newest;
}

/**
 * What that time would be, if all of it held: to verify evidence for the newest time that was signed, it has to be known
 * first. Nothing is verified.
 *
 * @returns undefined where there is none to be found
 * @throws EvidenceError
 */
export function newestClaimed(evidence: Evidence): Date | undefined {
  if (evidence.kind === "snp") {
    const { certificates, crl } = evidence;
    const times = certificates.map((der) => parseCertificate(der).notBefore);
    return newestDate([...times, ...(crl === undefined ? [] : [parseRevocationList(crl).thisUpdate])]);
  }
  const { collateral } = evidence;
  if (collateral === undefined) return undefined;
  const { tcbInfo, qeIdentity, pckCrl, rootCrl } = collateral;
  return newestDate([
    issueDateOf(tcbInfo, "tcbInfo"),
    issueDateOf(qeIdentity, "enclaveIdentity"),
    parseRevocationList(pckCrl).thisUpdate,
    parseRevocationList(rootCrl).thisUpdate,
  ]);
}

function newestOf(times: readonly SignedTime[]): SignedTime | undefined {
  return times.reduce<SignedTime | undefined>(
    (newest, each) => (newest === undefined || each.time > newest.time ? each : newest),
    undefined,
  );
}

function newestDate(times: readonly Date[]): Date | undefined {
  return newestOf(times.map((time) => ({ what: "", time })))?.time;
}

/** @returns no time where it is not there */
function issueDateOf(document: Uint8Array, key: string): Date {
  try {
    const parsed = JSON.parse(toUtf8(document)) as Readonly<
      Record<string, { readonly issueDate?: unknown } | undefined>
    >;
    return new Date(String(parsed[key]?.issueDate));
  } catch {
    return new Date(Number.NaN);
  }
}
