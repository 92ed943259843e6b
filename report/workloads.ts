import { policyReader, workloadReader } from "../manifest/annex-names.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { podName } from "./parsed-policy.ts";
import { parsePolicies } from "./policy-facts.ts";

/** A policy of the manifest in force, but for the Coordinator's. */
export interface Workload {
  readonly policy: string;
  /** `Deployment shop/web` */
  readonly pod: string;
  /** How else it may be called: parts of that, names of its certificate, its WorkloadSecretID. */
  readonly names: readonly string[];
  readonly workloadSecretId: string | undefined;
}

/** @param documents initdata of the manifest's policies, and of others */
export function workloadsIn({ policies }: Manifest, documents: readonly Uint8Array[]): Workload[] {
  const parsed = parsePolicies(documents);
  return [...policies].flatMap(([policy, { sans, workloadSecretId, role }]): Workload[] => {
    if (role === "coordinator") return [];
    const values = sans.map(({ value }) => value).filter((value) => !value.startsWith("*"));
    const document = parsed.get(policy);
    const pod = podName(document, values);
    const { namespace, name } = document?.generated?.data.workload ?? {};
    const own = name === undefined ? [] : [name, ...(namespace ? [`${namespace}/${name}`] : []), pod];
    const names = [...own, ...values, ...(workloadSecretId === undefined ? [] : [workloadSecretId])];
    return [{ policy, pod, names: [...new Set(names)], workloadSecretId }];
  });
}

/** Pods of the manifest in force that have what a reader names. */
export function podsOf(reader: string, workloads: readonly Workload[]): string[] {
  const pods = workloads
    .filter(
      ({ policy, workloadSecretId }) =>
        reader === policyReader(policy) ||
        (workloadSecretId !== undefined && reader === workloadReader(workloadSecretId)),
    )
    .map(({ pod }) => pod);
  return [...new Set(pods)];
}
