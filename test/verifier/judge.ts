import type { Evidence } from "../../attestation/evidence.ts";
import { AMD_ROOTS, simulatedRoots } from "../../attestation/snp/roots.ts";
import { verifySnp } from "../../attestation/snp/verify.ts";
import { INTEL_ROOTS } from "../../attestation/tdx/roots.ts";
import { verifyTdx } from "../../attestation/tdx/verify.ts";
import { fromBase64 } from "../../bytes/encode.ts";
import { settle } from "../../crypto/node.ts";
import { CodedError } from "../../runtime/errors.ts";

/** Recorded evidence as JSON, and what the sources of the library say about it, in any runtime. */

export type Recorded = { readonly id: string; readonly at: string; readonly root: string | undefined } & (
  | { readonly kind: "snp"; readonly report: string; readonly certificates: readonly string[]; readonly crl?: string }
  | { readonly kind: "tdx"; readonly quote: string; readonly collateral: Readonly<Record<Part, string>> }
);

type Part = "tcbInfo" | "qeIdentity" | "signingChain" | "pckCrl" | "rootCrl";

/** @returns by id: `verified`, or the code of the refusal */
export async function judge(recorded: readonly Recorded[]): Promise<Record<string, string>> {
  const outcomes: Record<string, string> = {};
  for (const each of recorded) {
    try {
      await settle(() => verify(each));
      outcomes[each.id] = "verified";
    } catch (error) {
      outcomes[each.id] = error instanceof CodedError ? error.code : String(error);
    }
  }
  return outcomes;
}

function verify(recorded: Recorded): unknown {
  const at = new Date(recorded.at);
  const { root } = recorded;
  const evidence = evidenceOf(recorded);
  if (evidence.kind === "tdx") {
    return verifyTdx(evidence, { trustAnchors: root === undefined ? INTEL_ROOTS : new Set([root]), at });
  }
  const trustAnchors = root === undefined ? AMD_ROOTS : simulatedRoots([root]);
  return verifySnp(evidence, { trustAnchors, at, crl: evidence.crl });
}

export function evidenceOf(recorded: Recorded): Evidence {
  if (recorded.kind === "snp") {
    const { kind, report, certificates, crl } = recorded;
    const list = crl === undefined ? undefined : bytes(crl);
    return { kind, report: bytes(report), certificates: certificates.map(bytes), crl: list };
  }
  const { kind, quote, collateral } = recorded;
  const { tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl } = collateral;
  const parts = {
    tcbInfo: bytes(tcbInfo),
    qeIdentity: bytes(qeIdentity),
    signingChain: bytes(signingChain),
    pckCrl: bytes(pckCrl),
    rootCrl: bytes(rootCrl),
  };
  return { kind, quote: bytes(quote), collateral: parts };
}

function bytes(text: string): Uint8Array {
  return fromBase64(text) ?? new Uint8Array();
}
