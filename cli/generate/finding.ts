import type { Fault } from "../../runtime/fault.ts";
import { GenerateError } from "./error.ts";

/**
 * Something that `generate` sees in the resources. An error stops it: the pod can't work, or is unsafe beyond doubt. A
 * warning does not: the pod may work, or is what its owner wants.
 */
export interface Finding extends Fault {
  readonly severity: "error" | "warning";
  readonly code: FindingCode;
  /** `file:line:column`, and after a comma the field or the annotation. */
  readonly where: string;
  readonly hint?: string;
}

/** What a finding is about; docs/generate.md lists them for users. */
export type FindingCode =
  /** Requests and limits of memory: the VM gets what the limits say, and never more. */
  | "memory"
  /** An image has no digest, and none could be found out: the policy refuses it. */
  | "image_digest"
  /** Nothing is known about an image but its digest: the policy takes its defaults for empty. */
  | "image_unknown"
  /** A registry did not give what it has to: see the message. */
  | "image_refused"
  /** A container takes from its image what the policy can't know. */
  | "image_config"
  /** A probe of the kubelet, which has no certificate, at a port that asks for one. */
  | "probe"
  /** Two want to listen at one address. */
  | "listener"
  /** An ingress rule is about a port that no container has. */
  | "ingress_port"
  /** A volume is not in the VM's memory, so that the host can read and change it. */
  | "volume"
  /** An encrypted volume could not be opened, or two pods would write to its disk. */
  | "secure_pv"
  /** Something of the resource that the policy refuses, or that has no effect, in a confidential VM. */
  | "unsupported"
  /** The policy permits the host more than a pod needs. */
  | "permission"
  /** A pod wants what is the host's, or all rights. */
  | "host_access"
  /** The cluster chooses what nobody attests. */
  | "cluster_value"
  /** Applications that are not root and can't read their key. */
  | "key_group"
  /** An application ends while a Service still sends connections to it. */
  | "drain"
  /** The level of Pod Security of a namespace forbids the pod. */
  | "pod_security"
  /** The mesh proxy is bound to addresses, and nothing closes the other ports. */
  | "ingress_bind"
  /** Nobody closes a pod's ports before its mesh proxy runs. */
  | "initializer"
  /** Others than the Initializer may ask CoCo's attestation API for evidence of the pod. */
  | "attestation_api"
  /** The Coordinator is missing. */
  | "coordinator"
  /** Several pods of one Coordinator, which don't share what they have to. */
  | "replicas"
  /** A proxy that does not end keeps a job from ending. */
  | "sidecar"
  /** A pod of a kind that is not known wants a confidential VM, and gets no policy. */
  | "unknown_kind"
  /** A key stands twice in a map, in a document without pods. */
  | "duplicate_key"
  /** A character ends a line for kubectl alone, in a document without pods. */
  | "line_break";

/** Findings that stop `generate`, which have been said one by one. Nothing is written. */
export class FindingsError extends GenerateError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[]) {
    const errors = findings.filter(({ severity }) => severity === "error").length;
    const counts = [counted(errors, "error"), counted(findings.length - errors, "warning")].filter(Boolean);
    super("findings", `${counts.join(" and ")}: nothing is written`, []);
    this.findings = findings;
  }
}

function counted(number: number, what: string): string {
  return number === 0 ? "" : `${number} ${what}${number === 1 ? "" : "s"}`;
}

/** One line: `file:line:column: warning: field: got, want …; hint [code]`. */
export function findingLine({ severity, code, where, got, want, hint }: Finding): string {
  const { place, field } = split(where);
  return `${place}: ${severity}: ${field === "" ? "" : `${field}: `}${got}, want ${want}${hint === undefined ? "" : `; ${hint}`} [${code}]`;
}

/** By file, line and column; those of one place stay in their order. */
export function byPlace(a: Finding, b: Finding): number {
  const [left, right] = [split(a.where), split(b.where)];
  return compare(left.file, right.file) || left.line - right.line || left.column - right.column;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** The name of a file may have colons and commas in it. */
function split(where: string): { place: string; file: string; line: number; column: number; field: string } {
  const match = /^(?<place>(?<file>.*?):(?<line>\d+):(?<column>\d+))(?:, (?<field>.*))?$/s.exec(where);
  const { place = where, file = where, line = "0", column = "0", field = "" } = match?.groups ?? {};
  return { place, file, line: Number(line), column: Number(column), field };
}
