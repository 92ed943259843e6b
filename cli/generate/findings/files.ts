import { doubtsOf } from "../../../kubernetes/collect-workloads.ts";
import type { NamedKind } from "../../../kubernetes/kinds.ts";
import { findOtherPods, type OtherPod } from "../../../kubernetes/other-pods.ts";
import { fieldIn, placeIn, type ResourceFile } from "../../../kubernetes/resource-file.ts";
import { byPlace, type Finding } from "../finding.ts";

/** What is to be said about files beside the pods in them. */
export function fileFindings(files: readonly ResourceFile[], named: readonly NamedKind[]): Finding[] {
  const doubts = doubtsOf(files, named, false).map((doubt): Finding => ({
    ...doubt,
    severity: "warning",
    hint: "the document is left as it is",
  }));
  const pods = files.flatMap((file) => findOtherPods(file, named).map((pod) => podFinding(file, pod)));
  return [...doubts, ...pods].toSorted(byPlace);
}

/** Whoever writes `contrast-cc` must not miss that a pod gets no policy. */
function podFinding(file: ResourceFile, { kind, document, path, template }: OtherPod): Finding {
  return {
    severity: "warning",
    code: "unknown_kind",
    where: `${placeIn(file, document, path)}, ${fieldIn(path)}`,
    got: `a pod where none of the kind ${kind} is known: it gets no policy`,
    want: "a pod that `generate` knows",
    ...(template !== undefined && { hint: `if this is its pod template, use --kind ${kind}=${template.join(".")}` }),
  };
}
