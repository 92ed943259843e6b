import type { ListedClaim } from "../attestation/read-claims.ts";
import { code, codes, fold, properties, section, table } from "./elements.ts";
import { type Html, html } from "./html.ts";

/** A workload's certificate that was verified, for people. */
export interface WorkloadFacts {
  readonly commonName: string;
  readonly names: readonly { readonly kind: string; readonly value: string }[];
  readonly keyDigest: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly policy: string;
  readonly workloadSecretId: string | undefined;
  readonly insecure: boolean;
  readonly claims: readonly ListedClaim[];
}

const PROOFS = { hardware: "the CPU", vendor: "its vendor", verifier: "the Coordinator" } as const;

/** Whose certificate it is, and every claim in it with its object identifier (docs/claims.md). */
export function workloadSection(facts: WorkloadFacts): Html {
  const { commonName, names, keyDigest, notBefore, notAfter, policy, workloadSecretId, insecure, claims } = facts;
  return section(
    "workload",
    "The workload’s certificate",
    html`<p class="verdict ${insecure ? "insecure" : "proven"}">
      ${
        insecure
          ? "The Coordinator of this deployment issued it, for evidence of a simulated TEE, which proves nothing about hardware."
          : "The Coordinator of this deployment issued it, for evidence of a confidential VM that it had verified."
      }
      Whoever shows it need not have its key: that is for the TLS connection to find out.
    </p> `,
    properties([
      ["Subject", commonName === "" ? undefined : code(commonName)],
      ["Names", codes(names.map(({ value }) => value))],
      ["Policy", code(policy)],
      ["Workload secret", workloadSecretId === undefined ? "none" : code(workloadSecretId)],
      ["Valid", html`${code(notBefore.toISOString())} to ${code(notAfter.toISOString())}`],
      ["SHA-256 of its key", code(keyDigest)],
    ]),
    fold(
      html`<h3>Every claim in it</h3>`,
      table(
        undefined,
        ["Claim", "Value", "Vouched for by", "Object identifier"],
        claims.map(({ name, value, proof, oid }) => [name, code(value), PROOFS[proof], code(oid)]),
      ),
    ),
  );
}
