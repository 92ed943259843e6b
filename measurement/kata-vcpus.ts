/**
 * How many vCPUs Kata gives a confidential guest. It is fixed when the guest starts (`static_sandbox_resource_mgmt`), and
 * follows from the CPU quota that containerd passes on from the kubelet (`io.kubernetes.cri.sandbox-cpu-quota` and
 * `-period`). The two runtimes of Kata 4 compute it in different ways:
 *
 * - `go`: default_vcpus and the limits, rounded up (src/runtime/pkg/oci/utils.go, `SandboxConfig`;
 *   virtcontainers/hypervisor.go, `RoundUpNumVCPUs`);
 * - `runtime-rs`: where the pod has a limit of CPU or memory, overhead_vcpus and the limits, at least one; else
 *   default_vcpus; rounded up (src/runtime-rs/crates/resource/src/cpu_mem/initial_size.rs, `setup_config`).
 */

export const KATA_SHIMS = ["go", "runtime-rs"] as const;
export type KataShim = (typeof KATA_SHIMS)[number];

/** What Kata's configuration says. */
export interface KataSizing {
  readonly shims: readonly KataShim[];
  /** `default_vcpus`. */
  readonly defaultVcpus: number;
  /** `overhead_vcpus`, of runtime-rs alone. */
  readonly overheadVcpus: number;
}

/** As Kata 4.1's configurations for SNP and TDX have it. */
export const KATA_DEFAULTS = { defaultVcpus: 1, overheadVcpus: 0.4 } as const;

/** The annotation with which a pod changes `default_vcpus`; Kata's configurations for confidential guests allow it. */
export const DEFAULT_VCPUS_ANNOTATION = "io.katacontainers.config.hypervisor.default_vcpus";
/** Annotations with which a pod changes the command line, and so the measurement. */
export const COMMAND_LINE_ANNOTATIONS = [
  "io.katacontainers.config.hypervisor.kernel_params",
  "io.katacontainers.config.hypervisor.kernel_verity_params",
] as const;

export interface PodSize {
  /** The kubelet's CPU limit of the pod, thousandths of a CPU; 0: none. */
  readonly cpuLimit: number;
  readonly hasMemoryLimit: boolean;
  /** Of the pod's annotation, in place of the configuration's. */
  readonly defaultVcpus: number | undefined;
}

/** `cpu.cfs_quota_us` of the smallest limit (kubelet, pkg/kubelet/cm/helpers_linux.go, `MinQuotaPeriod`). */
const LEAST_QUOTA = 1000;
const PERIOD = 100_000;

/** @returns the number of vCPUs by each of the shims */
export function vcpusOf(size: PodSize, sizing: KataSizing): ReadonlyMap<KataShim, number> {
  return new Map(sizing.shims.map((shim) => [shim, FORMULAS[shim](size, sizing)]));
}

type Formula = (size: PodSize, sizing: KataSizing) => number;

/** Both compute with 32 bits: `Math.fround` rounds where they do. */
const FORMULAS: Readonly<Record<KataShim, Formula>> = {
  go: (size, sizing) => {
    const base = Math.fround(size.defaultVcpus ?? sizing.defaultVcpus);
    return Math.max(1, Math.ceil(Math.fround(base + cpus(size))));
  },
  "runtime-rs": (size, sizing) => {
    if (size.cpuLimit === 0 && !size.hasMemoryLimit)
      return Math.max(1, Math.ceil(size.defaultVcpus ?? sizing.defaultVcpus));
    return Math.ceil(Math.max(1, Math.fround(Math.fround(sizing.overheadVcpus) + cpus(size))));
  },
};

function cpus({ cpuLimit }: PodSize): number {
  if (cpuLimit === 0) return 0;
  const quota = Math.max(LEAST_QUOTA, Math.floor((cpuLimit * PERIOD) / 1000));
  return Math.fround(quota / PERIOD);
}
