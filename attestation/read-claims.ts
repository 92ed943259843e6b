import { MalformedBytes } from "../bytes/cursor.ts";
import { fromUtf8, isEqual, toUtf8 } from "../bytes/encode.ts";
import { readDer, TAG } from "../pki/der.ts";
import type { ClaimExtensions } from "./claim-extensions.ts";
import type { ClaimProof } from "./claim-forms.ts";
import type { TeeKind } from "./evidence.ts";
import { refusing } from "./malformed.ts";
import { SNP_CLAIM_EXTENSIONS } from "./snp/claims.ts";
import { TDX_CLAIM_EXTENSIONS } from "./tdx/claims.ts";
import type { ClaimsOf } from "./tee.ts";
import { type Certificate, type ParsedExtension, parseCertificate } from "./x509.ts";

/**
 * Reads the claims of a workload's certificate: the way back from `claim-extensions.ts`. Nothing is verified here. Claims
 * mean something in a leaf alone whose chain leads to the mesh CA in force: any other issuer writes what he likes.
 *
 * Every value has one text. What is written otherwise is refused, and so is a certificate with claims of two TEEs.
 */

/** What a certificate of this kind of TEE says. Decide by what is there: `claims.debug === false`. */
interface ClaimsRead<K extends TeeKind> {
  readonly tee: K;
  /** A Coordinator of an earlier version knew fewer of them. */
  readonly claims: Partial<ClaimsOf<K>>;
  /** Identifiers under the same arc that this version does not know: those of a later one. */
  readonly unknown: readonly string[];
}

export type CertificateClaims = { readonly [K in TeeKind]: ClaimsRead<K> }[TeeKind];

const EXTENSIONS: { readonly [K in TeeKind]: ClaimExtensions<ClaimsOf<K>> } = {
  snp: SNP_CLAIM_EXTENSIONS,
  tdx: TDX_CLAIM_EXTENSIONS,
};

/**
 * @param certificate of a workload, DER or parsed; not verified
 * @returns undefined where it has no claims
 * @throws EvidenceError malformed_certificate
 */
export function readClaims(certificate: Uint8Array | Certificate): CertificateClaims | undefined {
  const { extensions, extensionsOffset } =
    certificate instanceof Uint8Array ? parseCertificate(certificate) : certificate;
  const [read, other] = [readKind(extensions, "snp"), readKind(extensions, "tdx")].filter((one) => one !== undefined);
  if (other === undefined && (read === undefined || read.claims.tee !== undefined)) return read;
  return refusing("malformed_certificate", () => {
    const got = other === undefined ? "claims of a TEE that is not named" : "claims of two TEEs";
    throw new MalformedBytes("claims", extensionsOffset, got, "those of one");
  });
}

/** A claim, as people are shown it. */
export interface ListedClaim {
  readonly name: string;
  /** The text of the extension. */
  readonly value: string;
  readonly oid: string;
  readonly proof: ClaimProof;
}

/** Those that a certificate has, in the order of their numbers. */
export function listClaims({ tee, claims }: CertificateClaims): readonly ListedClaim[] {
  const { arc, forms } = EXTENSIONS[tee];
  const values: Readonly<Record<string, string | number | boolean | undefined>> = { ...claims };
  return Object.entries(forms).flatMap(([name, { proof }], index) => {
    const value = values[name];
    return value === undefined ? [] : [{ name, value: String(value), oid: `${arc}.${index + 1}`, proof }];
  });
}

function readKind<K extends TeeKind>(extensions: Certificate["extensions"], kind: K): ClaimsRead<K> | undefined {
  const { arc, forms } = EXTENSIONS[kind];
  const found = [...extensions].filter(([id]) => id.startsWith(`${arc}.`));
  if (found.length === 0) return undefined;
  const names = Object.keys(forms) as (keyof ClaimsOf<K> & string)[];
  const known = new Map(names.map((name, index) => [`${arc}.${index + 1}`, name]));
  const read = found.flatMap(([id, extension]) => {
    const name = known.get(id);
    return name === undefined ? [] : [[name, readValue(id, extension, forms[name])] as const];
  });
  return {
    tee: kind,
    claims: Object.fromEntries(read) as Partial<ClaimsOf<K>>,
    unknown: found.map(([id]) => id).filter((id) => !known.has(id)),
  };
}

function readValue<V>(
  id: string,
  { critical, value, offset, valueOffset }: ParsedExtension,
  { type, read }: { readonly type: string; readonly read: (text: string) => V | undefined },
): V {
  return refusing("malformed_certificate", () => {
    if (critical) throw new MalformedBytes(id, offset, "a critical extension", "one that is not");
    const { content } = readDer(value, id, (der) => der.element(TAG.utf8String, id), valueOffset);
    const text = toUtf8(content);
    // What is no UTF-8 has a text as well, with U+FFFD in it.
    const parsed = isEqual(fromUtf8(text), content) ? read(text) : undefined;
    if (parsed === undefined) throw new MalformedBytes(id, valueOffset, text, type);
    return parsed;
  });
}
