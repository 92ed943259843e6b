import type { X509Certificate } from "node:crypto";
import { toHex } from "../../bytes/encode.ts";
import { type Granted, grantOf } from "../../manifest/grant-extensions.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { TransitVersions } from "../../manifest/transit.ts";
import type { Authority } from "../state/authority.ts";
import type { Snapshot } from "../state/snapshot.ts";
import { TransitError } from "./transit-error.ts";

/** Whose request it is, by the certificate that the connection's key was proven with. */
export interface Caller {
  /** SHA-256 of the policy, hex: the entry of the manifest that counts. */
  readonly policy: string;
  /** The only key that it may use; undefined: none. */
  readonly id: string | undefined;
  readonly versions: TransitVersions;
}

/** The certificate that a client showed. TLS has asked for a proof of its key; all else is decided here. */
export class ClientCertificate {
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly key: string;
  readonly #certificate: X509Certificate;
  /** A signature is verified once for each authority. */
  readonly #verified = new WeakMap<Authority, boolean>();
  // Each reading of these parses the certificate.
  readonly #validity: readonly [Date, Date];
  #granted: Granted | undefined;

  constructor(certificate: X509Certificate) {
    this.#certificate = certificate;
    this.#validity = [certificate.validFromDate, certificate.validToDate];
    this.key = toHex(spkiDigest(certificate.publicKey));
  }

  /**
   * The mesh key signs leaves, and nothing but its own CA certificates beside them. So a leaf below it is the whole chain:
   * neither the root nor a mesh CA of before, which some still trust, is asked.
   */
  isLeafOf(authority: Authority): boolean {
    const known = this.#verified.get(authority);
    if (known !== undefined) return known;
    const certificate = this.#certificate;
    // Undefined where the certificate lists no usage, whatever the types say.
    const usages = certificate.keyUsage as readonly string[] | undefined;
    const isClient = usages?.includes(CLIENT_AUTH) ?? false;
    const isLeaf = !certificate.ca && isClient && certificate.verify(authority.meshKey.publicKey);
    this.#verified.set(authority, isLeaf);
    return isLeaf;
  }

  isValidAt(now: Date): boolean {
    const [from, to] = this.#validity;
    return from <= now && now <= to;
  }

  /** To be believed only of a leaf of the mesh CA in force. @throws EvidenceError malformed_certificate */
  get granted(): Granted | undefined {
    this.#granted ??= grantOf(this.#certificate.raw);
    return this.#granted;
  }
}

/** RFC 5280 §4.2.1.12: id-kp-clientAuth. */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/**
 * Asked with every request, because a connection can outlive what is in force.
 *
 * @throws TransitError `certificate_missing`, `certificate_untrusted`, `certificate_expired`
 */
export function callerOf(
  certificate: ClientCertificate | undefined,
  { authority, manifest }: Pick<Snapshot, "authority" | "manifest">,
  now: Date,
): Caller {
  if (certificate === undefined) {
    throw new TransitError("certificate_missing", "permission denied: the client shows no certificate");
  }
  if (!certificate.isLeafOf(authority)) throw untrusted("is not one of the mesh CA in force");
  const { granted } = certificate;
  if (granted === undefined) throw untrusted("names no policy: an earlier version issued it");
  const entry = manifest.policies.get(granted.policy);
  if (entry === undefined || entry.workloadSecretId !== granted.workloadSecretId) {
    throw untrusted("is not what the manifest in force grants");
  }
  if (!certificate.isValidAt(now)) {
    throw new TransitError("certificate_expired", "permission denied: the client's certificate is not valid now");
  }
  return { policy: granted.policy, id: granted.workloadSecretId, versions: entry.transit };
}

function untrusted(why: string): TransitError {
  return new TransitError("certificate_untrusted", `permission denied: the client's certificate ${why}`);
}
