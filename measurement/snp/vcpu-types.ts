/**
 * The models of vCPUs that SNP guests can have (QEMU, target/i386/cpu.c, `builtin_x86_defs`), and their signature: what
 * CPUID Fn0000_0001_EAX gives (AMD publication 25481). Later versions of a model have the same signature.
 */

/**
 * @param family at least 15
 * @param model 0 to 255
 * @param stepping 0 to 15
 */
function signatureOf(family: number, model: number, stepping: number): number {
  return ((family - 0xf) << 20) | ((model >> 4) << 16) | (0xf << 8) | ((model & 0xf) << 4) | stepping;
}

const NAPLES = signatureOf(23, 1, 2);
const ROME = signatureOf(23, 49, 0);
const MILAN = signatureOf(25, 1, 1);
const GENOA = signatureOf(25, 17, 0);
const TURIN = signatureOf(26, 0, 0);

export const VCPU_SIGNATURES = {
  EPYC: NAPLES,
  "EPYC-v1": NAPLES,
  "EPYC-v2": NAPLES,
  "EPYC-IBPB": NAPLES,
  "EPYC-v3": NAPLES,
  "EPYC-v4": NAPLES,
  "EPYC-Rome": ROME,
  "EPYC-Rome-v1": ROME,
  "EPYC-Rome-v2": ROME,
  "EPYC-Rome-v3": ROME,
  "EPYC-Milan": MILAN,
  "EPYC-Milan-v1": MILAN,
  "EPYC-Milan-v2": MILAN,
  "EPYC-Genoa": GENOA,
  "EPYC-Genoa-v1": GENOA,
  "EPYC-Turin": TURIN,
} as const;

export type VcpuType = keyof typeof VCPU_SIGNATURES;
export const VCPU_TYPES = Object.keys(VCPU_SIGNATURES) as readonly VcpuType[];

/** What both of Kata's runtimes start SNP guests with (qemu_amd64.go, cmdline_generator.rs). */
export const KATA_VCPU_TYPE = "EPYC-v4" satisfies VcpuType;
