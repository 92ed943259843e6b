import { toHex } from "../bytes/encode.ts";

/**
 * What one field of the evidence was compared with. This describes the decision to people; it is made by
 * `matchReferenceValues`, and a test keeps the two in step.
 */
export interface Comparison {
  /** By the name of its specification, a bit or a part behind a dot. */
  readonly field: string;
  readonly got: string;
  readonly want: string;
  /** Who wants it: a JSON path of the manifest, or what is said below. */
  readonly reference: string;
  readonly holds: boolean;
}

/** The vendor's keys are part of the program. */
export const PINNED = "pinned in this program";
/** What no manifest can allow. */
export const ALWAYS = "always";
/** What evidence was made for, and nothing else has in its report data. */
export type Binding = "connection" | "nonce";
export const BINDINGS: Readonly<Record<Binding, Pick<Comparison, "want" | "reference">>> = {
  connection: {
    want: "SHA-512 over this TLS connection, the role server and the server's key",
    reference: "this connection",
  },
  nonce: {
    want: "SHA-512 over a tree of nonces with this one, the transition, and the keys of the root CA and the mesh CA",
    reference: "this nonce",
  },
};

export function equal(
  field: string,
  got: Uint8Array | string,
  want: Uint8Array | string,
  reference: string,
): Comparison {
  const [gotText, wantText] = [textOf(got), textOf(want)];
  return { field, got: gotText, want: wantText, reference, holds: gotText === wantText };
}

export function atLeast(field: string, got: number, minimum: number, reference: string): Comparison {
  return { field, got: `${got}`, want: `at least ${minimum}`, reference, holds: got >= minimum };
}

/** The report data was checked before there was anything to compare: evidence that is verified has it right. */
export function bound(field: string, reportData: Uint8Array, to: Binding): Comparison {
  return { field, got: toHex(reportData), ...BINDINGS[to], holds: true };
}

function textOf(value: Uint8Array | string): string {
  return typeof value === "string" ? value : toHex(value);
}
