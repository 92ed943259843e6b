import { issuersRequest, snpCrlRequest, vcekRequest } from "../../attestation/endorsements/amd.ts";
import type { EndorsementRequest } from "../../attestation/endorsements/cache.ts";
import {
  pckCrlRequest,
  qeIdentityRequest,
  rootCrlRequest,
  tcbInfoRequest,
} from "../../attestation/endorsements/intel.ts";
import { SNP_PRODUCTS } from "../../attestation/snp/product.ts";
import { PCK_CAS } from "../../attestation/tdx/chain.ts";

/**
 * The requests that a collateral proxy answers, by the path that `throughProxy` makes of a vendor's URL. Each is made anew
 * from its parts and has to come out as it was written: there is one way to ask for each thing, and no way to have
 * another host, path or parameter asked.
 */
export interface ProxiedRequest {
  readonly endorsement: EndorsementRequest;
  /** Whether there are as many of these as chips or families of platforms; of the others there are a few. */
  readonly isOpenEnded: boolean;
}

const KINDS = ["vcek", "vlek"] as const;

/** Those that do not depend on a chip or platform. */
const FEW: readonly EndorsementRequest[] = [
  ...KINDS.flatMap((kind) =>
    SNP_PRODUCTS.flatMap((product) => [issuersRequest(kind, product), snpCrlRequest(kind, product)]),
  ),
  qeIdentityRequest(),
  rootCrlRequest(),
  ...Object.values(PCK_CAS).map((ca) => pckCrlRequest(ca)),
];
const BY_PATH = new Map(FEW.map((endorsement) => [pathOf(endorsement.url), endorsement]));

const VCEK =
  /\/vcek\/v1\/(Milan|Genoa|Turin)\/([0-9a-f]+)\?(?:fmcSPL=(\d{1,3})&)?blSPL=(\d{1,3})&teeSPL=(\d{1,3})&snpSPL=(\d{1,3})&ucodeSPL=(\d{1,3})$/;
const TCB_INFO = /\?fmspc=([0-9a-f]{12})$/;

/** @param target of the request line: `/kdsintf.amd.com/vcek/v1/Milan/crl` @returns undefined: nobody is asked that */
export function proxiedRequest(target: string): ProxiedRequest | undefined {
  const few = BY_PATH.get(target);
  if (few !== undefined) return { endorsement: few, isOpenEnded: false };
  const endorsement = vcekOf(target) ?? tcbInfoOf(target);
  return endorsement !== undefined && pathOf(endorsement.url) === target
    ? { endorsement, isOpenEnded: true }
    : undefined;
}

function vcekOf(target: string): EndorsementRequest | undefined {
  const [, name, hwid = "", ...spl] = VCEK.exec(target) ?? [];
  const product = SNP_PRODUCTS.find((candidate) => candidate === name);
  const size = product === "Turin" ? 8 : 64;
  const [fmc = 0, bootloader = 0, tee = 0, snp = 0, microcode = 0] = spl.map((text) => Number(text ?? 0));
  const tcb = { fmc, bootloader, tee, snp, microcode };
  if (product === undefined || hwid.length !== 2 * size || Object.values(tcb).some((part) => part > 0xff)) {
    return undefined;
  }
  return vcekRequest({ product, chipId: Buffer.concat([Buffer.from(hwid, "hex")], 64), tcb });
}

function tcbInfoOf(target: string): EndorsementRequest | undefined {
  const [, fmspc] = TCB_INFO.exec(target) ?? [];
  return fmspc === undefined ? undefined : tcbInfoRequest(Buffer.from(fmspc, "hex"));
}

function pathOf(url: URL): string {
  return `/${url.host}${url.pathname}${url.search}`;
}
