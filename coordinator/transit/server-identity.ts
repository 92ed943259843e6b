import { constants, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Manifest } from "../../manifest/manifest.ts";
import { reservedNames, TRANSIT_NAME } from "../../manifest/reserved-names.ts";
import { issueLeaf } from "../../pki/certificate.ts";
import { type KeyPair, privateKeyPem } from "../../pki/keys.ts";
import { CodedError } from "../../runtime/errors.ts";
import { issueChain } from "../state/authority.ts";
import type { Phase } from "../state/phase.ts";
import type { Snapshot } from "../state/snapshot.ts";

/**
 * What the transit port shows of itself. Where a mesh CA is known, a certificate of that for the one name under which it
 * serves. Where none is, a self-signed one, whose only name says why: a client of Go, which does not accept it, prints that
 * name, and so its log has the reason.
 */
export interface ServerIdentity {
  readonly context: SecureContext;
  /** What it stands for: as long as that is the same, connections may go on. */
  readonly basis: object | string;
  /** When a new one is due, although nothing else has changed. */
  readonly renewAt: Date;
}

/** The parts of StateGuard that it depends on. */
export interface Known {
  readonly phase: Phase;
  readonly known: Snapshot | undefined;
}

interface Around {
  readonly keys: KeyPair;
  /** @throws CodedError where the clock is known to be wrong */
  readonly now: (snapshot?: Snapshot) => Date;
  /** The clock as it is. */
  readonly clock: () => Date;
}

const HOUR = 3_600_000;

/** The place of a name that no workload may have; undefined: there is none. Asked with every request. */
export function reservedName(manifest: Manifest): string | undefined {
  const known = reserved.get(manifest);
  if (known !== undefined) return known[0];
  const places = reservedNames(manifest.policies).map(({ where }) => where);
  reserved.set(manifest, places);
  return places[0];
}

const reserved = new WeakMap<Manifest, readonly string[]>();

/** The authority, or why there is none that the port could serve by. */
export function basisOf({ phase, known }: Known): object | string {
  if (known === undefined) return phase === "empty" ? "no-manifest" : "needs-recovery";
  return reservedName(known.manifest) === undefined ? known.authority : "reserved-name";
}

export function makeIdentity(state: Known, around: Around): ServerIdentity {
  const basis = basisOf(state);
  if (typeof basis === "string") return selfSigned(basis, basis, around);
  if (state.known === undefined) throw new Error("there is an authority, and nothing in force");
  try {
    const leaf = {
      publicKey: around.keys.publicKey,
      names: [dns(TRANSIT_NAME)],
      extensions: new Map<string, Buffer>(),
    };
    const chain = issueChain(state.known.authority, leaf, around.now(state.known));
    const { validFromDate, validToDate } = new X509Certificate(chain);
    const renewAt = new Date((validFromDate.getTime() + validToDate.getTime()) / 2);
    return { basis, renewAt, context: contextOf(chain, state.known.authority.meshCa, around.keys) };
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return selfSigned(basis, error.code.replaceAll("_", "-"), around);
  }
}

function selfSigned(basis: object | string, reason: string, { keys, clock }: Around): ServerIdentity {
  const subject = `${reason}.${TRANSIT_NAME}`;
  const now = clock().getTime();
  const certificate = issueLeaf({
    subject,
    publicKey: keys.publicKey,
    issuer: { name: subject, key: keys },
    notBefore: new Date(now - HOUR),
    notAfter: new Date(now + 24 * HOUR),
    names: [dns(subject)],
  });
  // Half a minute: whether the clock was corrected nobody tells.
  const isOfClock = typeof basis !== "string";
  const renewAt = new Date(now + (isOfClock ? HOUR / 120 : 12 * HOUR));
  return { basis, renewAt, context: contextOf(certificate, certificate, keys) };
}

function contextOf(chain: string, ca: string, { privateKey }: KeyPair): SecureContext {
  return createSecureContext({
    key: privateKeyPem(privateKey),
    cert: chain,
    ca,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    // No connection is ever resumed: who shows a certificate proves anew that it has the key.
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
}

function dns(value: string) {
  return { kind: "dns", value } as const;
}
