import type { SnpProduct } from "../../attestation/snp/product.ts";
import { CliError } from "../context.ts";

/** The options of `contrast evidence verify`, as the command line gives them. Files are paths. */
export interface EvidenceOptions {
  readonly snp?: string;
  readonly vcek?: string;
  readonly vlek?: string;
  readonly certTable?: string;
  readonly certChain?: string;
  readonly crl?: string;
  readonly product?: SnpProduct;
  readonly tdx?: string;
  readonly tcbInfo?: string;
  readonly tcbSigningChain?: string;
  readonly qeIdentity?: string;
  readonly pckCrl?: string;
  readonly rootCaCrl?: string;
  readonly at?: Date;
  readonly manifest?: string;
  /** 64 bytes. */
  readonly reportData?: Buffer;
  readonly trustAnchor?: readonly string[];
  readonly allowTcbStatus?: readonly string[];
  readonly allowDebug?: true;
}

/** What is to be verified, and with which files. */
export type EvidenceRequest = SnpRequest | TdxRequest;

interface SnpRequest {
  readonly kind: "snp";
  readonly report: string;
}

/** The paths of the quote and its collateral. */
interface TdxRequest {
  readonly kind: "tdx";
  readonly quote: string;
  readonly tcbInfo: string;
  readonly tcbSigningChain: string;
  readonly qeIdentity: string;
  readonly pckCrl: string;
  readonly rootCaCrl: string;
}

const SNP_OPTIONS = ["vcek", "vlek", "certTable", "certChain", "crl", "product"] as const;
const TDX_OPTIONS = ["tcbInfo", "tcbSigningChain", "qeIdentity", "pckCrl", "rootCaCrl"] as const;

/** @throws CliError usage where options are missing or contradict each other */
export function readRequest(options: EvidenceOptions): EvidenceRequest {
  const { snp, tdx } = options;
  if ((snp === undefined) === (tdx === undefined)) {
    const got = snp === undefined ? "neither" : "both";
    throw usage("there is one kind of evidence to verify", "--snp, --tdx", got, "one of them");
  }
  if (snp !== undefined) {
    const foreign = [...TDX_OPTIONS, "allowTcbStatus"] as const;
    refuseForeign(
      foreign.filter((name) => options[name] !== undefined),
      "--snp",
    );
    if (options.vcek !== undefined && options.vlek !== undefined) {
      throw usage("one key signed the report", "--vcek, --vlek", "both", "one of them");
    }
    return { kind: "snp", report: snp };
  }
  const foreign = SNP_OPTIONS.filter((name) => options[name] !== undefined);
  refuseForeign(foreign, "--tdx");
  return { kind: "tdx", quote: tdx ?? "", ...requireCollateral(options) };
}

function requireCollateral(options: EvidenceOptions): Omit<TdxRequest, "kind" | "quote"> {
  const { tcbInfo, tcbSigningChain, qeIdentity, pckCrl, rootCaCrl } = options;
  if (
    tcbInfo !== undefined &&
    tcbSigningChain !== undefined &&
    qeIdentity !== undefined &&
    pckCrl !== undefined &&
    rootCaCrl !== undefined
  ) {
    return { tcbInfo, tcbSigningChain, qeIdentity, pckCrl, rootCaCrl };
  }
  const missing = TDX_OPTIONS.filter((name) => options[name] === undefined);
  throw usage("a quote is verified with its collateral", "--tdx", `no ${flags(missing)}`, flags(TDX_OPTIONS));
}

function refuseForeign(foreign: readonly string[], kind: string): void {
  if (foreign.length === 0) return;
  throw usage("options that contradict each other", kind, `${kind} and ${flags(foreign)}`, `none of them with ${kind}`);
}

/** Names of options as they are typed. */
function flags(names: readonly string[]): string {
  return names.map((name) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`).join(", ");
}

function usage(message: string, where: string, got: string, want: string): CliError {
  return new CliError("usage", message, { where, got, want, hint: "see `contrast evidence verify --help`" });
}
