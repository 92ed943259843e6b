import type { z } from "zod";
import type { AttestAnswer } from "../../api/http/answers.ts";
import type { Evidence, TeeKind } from "../../attestation/evidence.ts";
import type { PathStep } from "../../attestation/nonce-tree.ts";
import type { EvidenceOf } from "../../attestation/tee.ts";

type Json = z.input<typeof AttestAnswer>;

const TO_JSON: { readonly [K in TeeKind]: (evidence: EvidenceOf<K>) => Json["evidence"] } = {
  snp: ({ report, certificates, crl }) => ({
    kind: "snp",
    report: base64(report),
    certificates: certificates.map((der) => base64(der)),
    ...(crl === undefined ? {} : { crl: base64(crl) }),
  }),
  tdx: ({ quote, collateral }) => ({
    kind: "tdx",
    quote: base64(quote),
    ...(collateral === undefined
      ? {}
      : {
          collateral: {
            tcbInfo: base64(collateral.tcbInfo),
            qeIdentity: base64(collateral.qeIdentity),
            signingChain: base64(collateral.signingChain),
            pckCrl: base64(collateral.pckCrl),
            rootCrl: base64(collateral.rootCrl),
          },
        }),
  }),
};

export function evidenceToJson<K extends TeeKind>(evidence: EvidenceOf<K> & Evidence): Json["evidence"] {
  return TO_JSON[evidence.kind](evidence);
}

export function pathToJson(path: readonly PathStep[]): Json["path"] {
  return path.map(({ side, digest }) => ({ side, digest: Buffer.from(digest).toString("hex") }));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
