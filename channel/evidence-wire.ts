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
import type { Evidence, SnpEvidence, TdxCollateral, TdxEvidence } from "../attestation/evidence.ts";

/** Evidence as it travels, and back. Nothing is looked into. */

export function toWire(evidence: Evidence): WireEvidence {
  const kind =
    evidence.kind === "snp"
      ? ({ case: "snp", value: snpToWire(evidence) } as const)
      : ({ case: "tdx", value: tdxToWire(evidence) } as const);
  return create(EvidenceSchema, { kind });
}

/** @returns undefined where there is none, or one of a kind that this version does not know */
export function fromWire(wire: WireEvidence | undefined): Evidence | undefined {
  if (wire?.kind.case === "snp") return snpFromWire(wire.kind.value);
  if (wire?.kind.case === "tdx") return tdxFromWire(wire.kind.value);
  return undefined;
}

function snpToWire({ report, certificates, crl }: SnpEvidence): WireSnp {
  return create(SnpEvidenceSchema, { report, certificates: [...certificates], ...(crl === undefined ? {} : { crl }) });
}

function snpFromWire({ report, certificates, crl }: WireSnp): SnpEvidence {
  return {
    kind: "snp",
    report: Buffer.from(report),
    certificates: certificates.map((der) => Buffer.from(der)),
    ...(crl === undefined ? {} : { crl: Buffer.from(crl) }),
  };
}

function tdxToWire({ quote, collateral }: TdxEvidence): WireTdx {
  return create(TdxEvidenceSchema, { quote, ...(collateral === undefined ? {} : { collateral: { ...collateral } }) });
}

function tdxFromWire({ quote, collateral }: WireTdx): TdxEvidence {
  return {
    kind: "tdx",
    quote: Buffer.from(quote),
    ...(collateral === undefined ? {} : { collateral: collateralFromWire(collateral) }),
  };
}

function collateralFromWire({ tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl }: WireCollateral): TdxCollateral {
  return {
    tcbInfo: Buffer.from(tcbInfo),
    qeIdentity: Buffer.from(qeIdentity),
    signingChain: Buffer.from(signingChain),
    pckCrl: Buffer.from(pckCrl),
    rootCrl: Buffer.from(rootCrl),
  };
}
