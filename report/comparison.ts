/**
 * What one field of the evidence was compared with. This describes the decision to people; it is made by
 * `matchReferenceValues`, and a test keeps the two in step.
 */
export interface Comparison {
  /** By the name of its specification, a bit or a part behind a dot. */
  readonly field: string;
  readonly got: string;
  readonly want: string;
  /** Who wants it: a JSON path of the manifest, or one of the three below. */
  readonly reference: string;
  readonly holds: boolean;
}

/** The vendor's keys are part of the program. */
export const PINNED = "pinned in this program";
/** What no manifest can allow. */
export const ALWAYS = "always";
/** Only this TLS connection has it. */
export const CONNECTION = "this connection";

export function equal(field: string, got: Buffer | string, want: Buffer | string, reference: string): Comparison {
  const [gotText, wantText] = [textOf(got), textOf(want)];
  return { field, got: gotText, want: wantText, reference, holds: gotText === wantText };
}

export function atLeast(field: string, got: number, minimum: number, reference: string): Comparison {
  return { field, got: `${got}`, want: `at least ${minimum}`, reference, holds: got >= minimum };
}

/** The report data was checked before there was anything to compare: evidence that is verified has it right. */
export function boundToConnection(field: string, reportData: Buffer): Comparison {
  const want = "SHA-512 over this TLS connection, the role server and the server's key";
  return { field, got: reportData.toString("hex"), want, reference: CONNECTION, holds: true };
}

function textOf(value: Buffer | string): string {
  return typeof value === "string" ? value : value.toString("hex");
}
