import type { ClaimExtensions } from "./claim-extensions.ts";
import type { CacheUse } from "./endorsements/cache.ts";
import type { ChipVendors, Vendors } from "./endorsements/vendors.ts";
import type { Evidence, SnpEvidence, TdxEvidence, TeeKind } from "./evidence.ts";
import type { EvidenceCache } from "./evidence-cache.ts";
import type { HighWaterMark } from "./high-water.ts";
import type { Launch } from "./launch.ts";
import type { SnpClaims } from "./snp/claims.ts";
import type { TrustAnchors } from "./snp/roots.ts";
import type { VerifiedSnpReport } from "./snp/verify.ts";
import type { TdxClaims } from "./tdx/claims.ts";
import type { TdxTrustAnchors } from "./tdx/roots.ts";
import type { VerifiedTdxQuote } from "./tdx/verify.ts";

/**
 * What a kind of TEE has to offer. `tees.ts` has one entry for each; whoever adds a kind to `Evidence` is led from there
 * to every table and every switch by the compiler.
 */
export interface Tee<K extends TeeKind> {
  /** Verifies evidence, and asks the vendor in between for what it lacks. @throws EvidenceError, EndorsementError */
  readonly verify: (bound: BoundEvidence<EvidenceOf<K>>, options: VerifyOptions) => Promise<VerifiedOf<K>>;
  /**
   * Verifies evidence that brings all it needs along. Nobody is asked for anything, and so nothing is waited for.
   *
   * @throws EvidenceError; collateral_missing where it does not
   */
  readonly verifyComplete: (bound: BoundEvidence<EvidenceOf<K>>, options: CompleteOptions) => VerifiedOf<K>;
  /**
   * Verifies evidence of a software TEE that imitates this kind, if it brings one of these roots along.
   *
   * @param roots of software TEEs, by the digest of their keys
   * @returns undefined where it brings none of them
   * @throws EvidenceError
   */
  readonly verifySimulated: (
    evidence: EvidenceOf<K>,
    roots: ReadonlySet<string>,
    options: SimulatedOptions,
  ) => VerifiedOf<K> | undefined;
  /**
   * Adds what is per chip where it lacks: a verifier asks nobody for that, for anybody could make it ask.
   *
   * @throws EvidenceError, EndorsementError
   */
  readonly complete: (evidence: EvidenceOf<K>, vendors: PerChip, use?: CacheUse) => Promise<EvidenceOf<K>>;
  /** The field where the host has to give the hash of the policy. */
  readonly policyField: string;
  /** @returns 64 digits of lower-case hex @throws EvidenceError where there is something else than a hash */
  readonly policyHash: (verified: VerifiedOf<K>) => string;
  readonly launch: (verified: VerifiedOf<K>) => Launch;
  readonly claims: (verified: VerifiedOf<K>) => ClaimsOf<K>;
  readonly claimExtensions: ClaimExtensions<ClaimsOf<K>>;
  /** What the CPU says it is, hex. */
  readonly chip: (claims: ClaimsOf<K>) => string;
}

/** Who is asked for what is per chip. */
export type PerChip = Pick<ChipVendors, "withVcek">;

/** The types of each kind. */
interface Types {
  readonly snp: Type<SnpEvidence, VerifiedSnpReport, SnpClaims>;
  readonly tdx: Type<TdxEvidence, VerifiedTdxQuote, TdxClaims>;
}

interface Type<E extends Evidence, V extends Verified<E["kind"]>, C extends { readonly tee: E["kind"] }> {
  readonly evidence: E;
  readonly verified: V;
  readonly claims: C;
}

/** What all verified evidence has. */
interface Verified<K extends TeeKind> {
  readonly kind: K;
  /** 64 bytes that it was made for. */
  readonly reportData: Uint8Array;
  /** It comes from a software TEE and proves nothing about hardware. */
  readonly simulated: boolean;
}

/** Written so that the compiler sees that an entry and what it is given are of one kind. */
export type EvidenceOf<K extends TeeKind> = { [P in K]: Types[P]["evidence"] & { readonly kind: P } }[K];
export type VerifiedOf<K extends TeeKind> = { [P in K]: Types[P]["verified"] & { readonly kind: P } }[K];
export type ClaimsOf<K extends TeeKind> = { [P in K]: Types[P]["claims"] & { readonly tee: P } }[K];

/** Evidence up to the vendor's root, of any kind. */
export type VerifiedEvidence = Types[TeeKind]["verified"];

export interface VerifyOptions {
  readonly snpAnchors: TrustAnchors;
  readonly tdxAnchors: TdxTrustAnchors;
  /** The time to verify for. Vendors take their time, so it is asked at each step. @throws where it can't be */
  readonly now: () => Date;
  readonly highWater: HighWaterMark;
  readonly vendors: Vendors;
  /** What earlier verifications parsed, for whoever verifies often. */
  readonly cache?: EvidenceCache | undefined;
  /** Fires when nobody waits for the outcome any more. */
  readonly abandoned?: AbortSignal | undefined;
}

/** The time to verify for, and whose roots count. */
export interface CompleteOptions extends Pick<VerifyOptions, "snpAnchors" | "tdxAnchors"> {
  readonly at: Date;
}

export interface BoundEvidence<E extends Evidence = Evidence> {
  readonly evidence: E;
  /** What binds it to the connection. */
  readonly reportData: Uint8Array;
}

export interface SimulatedOptions {
  /** The time to verify for. */
  readonly at: Date;
  readonly cache?: EvidenceCache | undefined;
}
