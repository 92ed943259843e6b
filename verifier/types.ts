/**
 * What callers of the verifier see. Nothing here is imported from elsewhere in this program, so that it stays as it is while
 * the program changes. All digests are lower-case hexadecimal, all times ISO 8601 in UTC.
 */

export interface VerifyDeploymentOptions {
  /**
   * Address of the Coordinator's HTTP API (port 1314), or of what stands before it: `https://coordinator.example`, also with
   * a path. `http:` will do: what is answered is as good as its evidence, whatever carries it.
   */
  readonly url: string;
  /** The bytes of `manifest.json`, or its text: what the deployment has to enforce. Read it before you trust it. */
  readonly manifest: Uint8Array | string;
  /**
   * SHA-256 of the Coordinator's policy (its initdata document), 64 digits of hexadecimal. Without it, a policy will do that
   * the manifest lists with the role `coordinator`.
   */
  readonly policy?: string | undefined;
  /** Whether a software TEE that the manifest names is believed. It proves nothing: for trying things out. Default: false. */
  readonly allowInsecure?: boolean | undefined;
  /**
   * SHA-256 of keys, hex: seed share owners of earlier manifests who, as you accept, may know the seed. Others are a refusal, for
   * whoever made the first manifest may have made the seed known to himself. Default: none.
   */
  readonly formerSeedshareOwners?: readonly string[] | undefined;
  /** Whether the documents of the policies of all manifests are read as well, each checked by its hash. Default: false. */
  readonly policies?: boolean | undefined;
  /** For all requests together, in milliseconds. Default: 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Ends the verification. */
  readonly signal?: AbortSignal | undefined;
  /** In the place of the runtime's `fetch`. */
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /** The time to verify for. Default: the clock. */
  readonly now?: (() => Date) | undefined;
  /** Random bytes, of this number. Default: `crypto.getRandomValues`. */
  readonly random?: ((length: number) => Uint8Array) | undefined;
}

export interface VerifyStatementOptions {
  /** The manifest at hand. Without it the statement is about the manifest that is in it: compare `manifest.sha256`. */
  readonly manifest?: Uint8Array | string | undefined;
  /** As of a deployment. */
  readonly policy?: string | undefined;
  readonly allowInsecure?: boolean | undefined;
  readonly formerSeedshareOwners?: readonly string[] | undefined;
  /** Nothing was signed later than this. Default: the clock. */
  readonly now?: (() => Date) | undefined;
}

/** What is known about a deployment once it is verified. Frozen. */
export interface DeploymentFacts {
  /** The evidence comes from a software TEE: all of this proves nothing about hardware. */
  readonly insecure: boolean;
  readonly coordinator: {
    readonly tee: "snp" | "tdx";
    /** SHA-256 of its policy. */
    readonly policy: string;
    /** Which set of the manifest its evidence matches: `$.ReferenceValues.snp[0]`. */
    readonly referenceValues: string;
    /** What its evidence says, by name; the names are those of `docs/claims.md`. */
    readonly claims: Readonly<Record<string, unknown>>;
  };
  /** The manifest that is in force. */
  readonly manifest: {
    readonly sha256: string;
    readonly text: string;
    /** How many manifests the deployment has had, with this one. */
    readonly generation: number;
  };
  /** SHA-256 of the latest transition: it names all that was before. */
  readonly transition: string;
  /** Oldest first. Owners allowed every step, as the manifest before it says. */
  readonly history: readonly HistoryStep[];
  /** Both keys are bound by the evidence. */
  readonly rootCa: CaCertificate;
  /** Trust this one for connections to the deployment: it ends with the manifest. */
  readonly meshCa: CaCertificate;
  /** By hash, where they were asked for: the initdata documents. */
  readonly policies: Readonly<Record<string, string>>;
  /** The newest time that the vendor signed in what vouches for the evidence. */
  readonly signed: SignedTimestamp;
}

export interface VerifiedDeployment extends DeploymentFacts {
  readonly url: string;
  /** By the caller's clock, after the nonce was drawn. */
  readonly verifiedAt: string;
}

export interface VerifiedStatement extends DeploymentFacts {
  /**
   * All of this was true at some time after this one: the evidence was made for a nonce that was made of what was signed then.
   * How long after, nobody signed. Certificates and collateral were valid at this time, and are judged by it.
   */
  readonly after: SignedTimestamp;
  /** Whether the manifest is the one that the caller has at hand. */
  readonly manifestAtHand: boolean;
  /** What is written in the statement and signed by nobody. */
  readonly unsigned: { readonly url: string; readonly verifiedAt: string };
}

/** A workload's certificate that is of a verified deployment. Frozen. */
export interface VerifiedCertificate {
  readonly commonName: string;
  /** An IPv6 address stands in eight groups. */
  readonly names: readonly { readonly kind: "dns" | "ip" | "uri"; readonly value: string }[];
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keySha256: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 of the policy that the workload was launched with: one of the manifest in force. */
  readonly policy: string;
  readonly workloadSecretId: string | null;
  /** The workload's evidence came from a software TEE. */
  readonly insecure: boolean;
  /** What the Coordinator verified of the workload's evidence, as `docs/claims.md` lists it. */
  readonly claims: readonly VerifiedClaim[];
}

export interface VerifiedClaim {
  readonly name: string;
  /** The text of the extension. */
  readonly value: string;
  readonly oid: string;
  /** Who vouches for it: the CPU, its vendor, or the Coordinator that concluded it. */
  readonly proof: "hardware" | "vendor" | "verifier";
}

export interface HistoryStep {
  /** SHA-256 of its record. */
  readonly transition: string;
  /** `use`: the Coordinator counted a leave to format a volume as used; it needs no owner. */
  readonly kind: "first" | "set" | "rekey" | "amendment" | "use";
  /** Number of the manifest that is in force from then on. */
  readonly generation: number;
  readonly manifest: string;
  /** SHA-256 of the annex that is in force from then on. */
  readonly annex: string | null;
  /** SHA-256 of the keys of the owners who signed it. */
  readonly signedBy: readonly string[];
}

export interface CaCertificate {
  readonly pem: string;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keySha256: string;
  readonly notBefore: string;
  readonly notAfter: string;
}

export interface SignedTimestamp {
  readonly time: string;
  /** For people: `thisUpdate of the revocation list of ARK-Milan`. */
  readonly what: string;
}

/**
 * The deployment was not verified. The code is stable, the message is for people and may change; docs/troubleshooting.md lists
 * the codes.
 */
export class VerifyRefusal extends Error {
  readonly code: string;
  /** The field, document or request that it is about. */
  readonly where: string | undefined;
  readonly got: string | undefined;
  readonly want: string | undefined;
  /** What to do next. */
  readonly hint: string | undefined;
  /** In milliseconds, where trying again may help; then nothing is known to be wrong with the deployment. */
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, details: VerifyRefusalDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "VerifyRefusal";
    this.code = code;
    this.where = details.where;
    this.got = details.got;
    this.want = details.want;
    this.hint = details.hint;
    this.retryAfterMs = details.retryAfterMs;
  }
}

export interface VerifyRefusalDetails {
  readonly where?: string | undefined;
  readonly got?: string | undefined;
  readonly want?: string | undefined;
  readonly hint?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}
