import { faultLines } from "../manifest/error.ts";
import type { Fault } from "../runtime/fault.ts";
import { CodedError } from "../runtime/errors.ts";

/** Why files of Kubernetes resources can't be used, and what to do about it. */
export type ResourceCode =
  /** A file or folder is missing or can't be read: correct the path or its permissions. */
  | "unreadable_file"
  /** Not YAML, or not UTF-8: correct the named place. Templates have to be rendered first. */
  | "malformed_yaml"
  /** YAML that can't be edited in place, because of an anchor or a merge: write the named document out. */
  | "uneditable_yaml"
  /** A file could not be written: make room, or correct the permissions, and run it again. */
  | "unwritable_file"
  /** A workload lacks a field or has one of the wrong kind: Kubernetes would refuse it, too. */
  | "invalid_resource"
  /** An annotation of ours has an unknown name or value: correct it. */
  | "invalid_annotation"
  /** A pod's runtime class names a platform that `--reference-values` does not: give it, or correct the class. */
  | "other_platform"
  /** Two documents describe the same workload: leave one of them out. */
  | "duplicate_workload"
  /** No pod asks for a confidential VM: set `runtimeClassName: contrast-cc` on those that should. */
  | "no_workloads";

/** All that is wrong, together. `where` of a fault is `file:line:column` where there is such a place. */
export class ResourceError<Code extends string = ResourceCode> extends CodedError<Code> {
  readonly faults: readonly Fault[];

  /** @param faults none where they have been said already */
  constructor(code: Code, message: string, faults: readonly Fault[], cause?: unknown) {
    const [only] = faults.length === 1 ? faults : [];
    super(code, faults.length > 1 ? `${message}, ${faultLines(faults)}` : message, { ...only, cause });
    this.faults = faults;
  }
}

/** The reason that the operating system gives, without its own repetition of the path. */
export function systemReason(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
