import { randomBytes } from "node:crypto";
import { toHex } from "../../bytes/encode.ts";
import { encodeDer, encodeInteger } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../../pki/keys.ts";
import type { SnpEvidence } from "../evidence.ts";
import {
  amdSigner,
  ARK_EXTENSIONS,
  ASK_EXTENSIONS,
  type CertificateRequest,
  issueCertificate,
  type Signer,
  vcekExtensions,
} from "../simulated/certificates.ts";
import { signReport } from "../simulated/firmware.ts";
import { MACHINE_REPORT, MACHINE_TCB } from "../simulated/machine.ts";
import { testRsaKey } from "../test-keys.ts";
import type { Extensions } from "../x509.ts";
import { AMD_OID } from "./certificate.ts";
import type { SnpProduct } from "./product.ts";
import type { SnpReportFields } from "./report.ts";
import type { TrustAnchors } from "./roots.ts";
import { encodeTcb, type Tcb } from "./tcb.ts";

/**
 * For tests: a vendor that keeps all its keys and does whatever it is asked to, so that evidence can be wrong in one
 * place and right in all others.
 */

/** The time at which its evidence is valid. */
export const NOW = new Date("2026-06-01T00:00:00Z");
export const CHIP_ID = Buffer.alloc(64, 0xc1);

/** What differs from evidence that is right. */
export interface Scenario {
  readonly product?: SnpProduct;
  readonly kind?: "vcek" | "vlek";
  readonly report?: Partial<SnpReportFields>;
  readonly leaf?: Partial<CertificateRequest>;
  readonly leafSigner?: Signer;
  readonly ask?: Partial<CertificateRequest>;
  readonly askSigner?: Signer;
  readonly ark?: Partial<CertificateRequest>;
  readonly arkSigner?: Signer;
}

export interface TestVendor {
  readonly ark: KeyPair;
  readonly ask: KeyPair;
  readonly endorsement: KeyPair;
  readonly rootDigest: string;
}

/** @param name one vendor for each; the keys of their chips are new ones each time */
export async function createTestVendor(name = "amd"): Promise<TestVendor> {
  const [ark, ask, endorsement] = await Promise.all([
    testRsaKey(4096, `${name}-ark`),
    testRsaKey(4096, `${name}-ask`),
    generateEcKey("P-384"),
  ]);
  return { ark, ask, endorsement, rootDigest: toHex(spkiDigest(ark.publicKey)) };
}

/** Trusts the vendor as if it were AMD, so that its evidence can be validated as hardware's. */
export function asVendorRoot({ rootDigest }: TestVendor, product: SnpProduct): TrustAnchors {
  return new Map([[rootDigest, { simulated: false, product }]]);
}

export function makeEvidence(vendor: TestVendor, scenario: Scenario = {}): SnpEvidence {
  const { product = "Milan", kind = "vcek" } = scenario;
  const [ark, ask] = [`ARK-${product}`, `${kind === "vcek" ? "SEV" : "SEV-VLEK"}-${product}`];
  const validity = { notBefore: new Date("2020-01-01T00:00:00Z"), notAfter: new Date("2040-01-01T00:00:00Z") };
  const [arkSigner, askSigner] = [amdSigner(vendor.ark.privateKey), amdSigner(vendor.ask.privateKey)];
  const certificates = [
    issueCertificate(
      {
        ...validity,
        subject: `SEV-${kind.toUpperCase()}`,
        issuer: ask,
        publicKey: vendor.endorsement.publicKey,
        serial: 0,
        extensions: kind === "vcek" ? vcek(product) : vlek(product),
        ...scenario.leaf,
      },
      scenario.leafSigner ?? askSigner,
    ),
    issueCertificate(
      {
        ...validity,
        subject: ask,
        issuer: ark,
        publicKey: vendor.ask.publicKey,
        serial: 0x10001,
        extensions: ASK_EXTENSIONS,
        ...scenario.ask,
      },
      scenario.askSigner ?? arkSigner,
    ),
    issueCertificate(
      {
        ...validity,
        subject: ark,
        issuer: ark,
        publicKey: vendor.ark.publicKey,
        serial: 0x10000,
        extensions: ARK_EXTENSIONS,
        ...scenario.ark,
      },
      scenario.arkSigner ?? arkSigner,
    ),
  ];
  const report = signReport({ ...reportOf(product, kind), ...scenario.report }, vendor.endorsement.privateKey);
  return { kind: "snp", report, certificates };
}

export const TURIN_TCB: Tcb = { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 200 };

/** A report that goes with a certificate of that product and kind. */
export function reportOf(product: SnpProduct, kind: "vcek" | "vlek"): Omit<SnpReportFields, "signature"> {
  const tcb = encodeTcb(product === "Turin" ? TURIN_TCB : MACHINE_TCB, product);
  const chipId = product === "Turin" ? Buffer.concat([CHIP_ID.subarray(0, 8)], 64) : CHIP_ID;
  return {
    ...MACHINE_REPORT,
    ...(product === "Turin" ? { version: 5, mitigations: { launch: 1n, current: 3n } } : {}),
    cpuid: { Milan: cpuid(0x19, 0x01), Genoa: cpuid(0x19, 0x11), Turin: cpuid(0x1a, 0x02) }[product],
    signingKey: kind,
    chipId: kind === "vcek" ? chipId : Buffer.alloc(64),
    currentTcb: tcb,
    reportedTcb: tcb,
    committedTcb: tcb,
    launchTcb: tcb,
    reportData: Buffer.alloc(64, 0xda),
    measurement: Buffer.alloc(48, 0x3e),
    hostData: Buffer.alloc(32, 0x40),
    reportId: randomBytes(32),
  };
}

function cpuid(family: number, model: number): SnpReportFields["cpuid"] {
  return { family, model, stepping: 1 };
}

/** The extensions of a VCEK, in which some have other values or, where undefined, are left out. */
export function vcek(product: SnpProduct, changes: Readonly<Record<string, Uint8Array | undefined>> = {}): Extensions {
  const turin = product === "Turin";
  const tcb = turin ? TURIN_TCB : MACHINE_TCB;
  const extensions = new Map(vcekExtensions(product, tcb, turin ? CHIP_ID.subarray(0, 8) : CHIP_ID));
  if (turin) extensions.set(AMD_OID.fmc, { critical: false, value: encodeInteger(tcb.fmc) });
  for (const [id, value] of Object.entries(changes)) {
    if (value === undefined) extensions.delete(id);
    else extensions.set(id, { critical: false, value });
  }
  return extensions;
}

function vlek(product: SnpProduct): Extensions {
  const cspId = encodeDer(TAG.ia5String, Buffer.from("cloud.example"));
  return vcek(product, { [AMD_OID.hwid]: undefined, [AMD_OID.cspId]: cspId });
}
