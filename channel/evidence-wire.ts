import { create } from "@bufbuild/protobuf";
import {
  type Evidence as WireEvidence,
  EvidenceSchema,
  type SnpEvidence as WireSnp,
  SnpEvidenceSchema,
  type TdxCollateral as WireCollateral,
  type TdxEvidence as WireTdx,
  TdxEvidenceSchema,
} from "../api/channel_pb.ts";
import type { Evidence, SnpEvidence, TdxCollateral, TdxEvidence, TeeKind } from "../attestation/evidence.ts";
import type { EvidenceOf } from "../attestation/tee.ts";

/** Evidence as it travels, and back. Nothing is looked into, and nothing copied: its bytes stay those of the message. */

type Wire = WireEvidence["kind"];

const TO_WIRE: { readonly [K in TeeKind]: (evidence: EvidenceOf<K>) => Wire } = {
  snp: (evidence) => ({ case: "snp", value: snpToWire(evidence) }),
  tdx: (evidence) => ({ case: "tdx", value: tdxToWire(evidence) }),
};

export function toWire<K extends TeeKind>(evidence: EvidenceOf<K>): WireEvidence {
  return create(EvidenceSchema, { kind: TO_WIRE[evidence.kind](evidence) });
}

/** @returns undefined where there is none, or one of a kind that this version does not know */
export function fromWire(wire: WireEvidence | undefined): Evidence | undefined {
  const kind: Wire = wire?.kind ?? { case: undefined };
  switch (kind.case) {
    case "snp":
      return snpFromWire(kind.value);
    case "tdx":
      return tdxFromWire(kind.value);
    case undefined:
      return undefined;
    default:
      kind satisfies never;
      return undefined;
  }
}

function snpToWire({ report, certificates, crl }: SnpEvidence): WireSnp {
  return create(SnpEvidenceSchema, { report, certificates: [...certificates], ...(crl === undefined ? {} : { crl }) });
}

function snpFromWire({ report, certificates, crl }: WireSnp): SnpEvidence {
  return {
    kind: "snp",
    report: view(report),
    certificates: certificates.map((der) => view(der)),
    ...(crl === undefined ? {} : { crl: view(crl) }),
  };
}

function tdxToWire({ quote, collateral }: TdxEvidence): WireTdx {
  return create(TdxEvidenceSchema, { quote, ...(collateral === undefined ? {} : { collateral: { ...collateral } }) });
}

function tdxFromWire({ quote, collateral }: WireTdx): TdxEvidence {
  return {
    kind: "tdx",
    quote: view(quote),
    ...(collateral === undefined ? {} : { collateral: collateralFromWire(collateral) }),
  };
}

function collateralFromWire({ tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl }: WireCollateral): TdxCollateral {
  return {
    tcbInfo: view(tcbInfo),
    qeIdentity: view(qeIdentity),
    signingChain: view(signingChain),
    pckCrl: view(pckCrl),
    rootCrl: view(rootCrl),
  };
}

function view({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
