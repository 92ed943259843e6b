import { parse, stringify } from "smol-toml";
import { NodeError } from "./error.ts";
import type { Guest } from "./guest.ts";

/**
 * Kata's configuration for one of our runtime classes: the one that kata-deploy installed, and a drop-in with the guest
 * image and what confidential pods need (kata-containers, src/runtime/config/configuration-qemu-snp.toml.in).
 */

/** Below kata-deploy's folder. */
export interface KataShim {
  readonly binary: string;
  readonly configuration: string;
  /** The shim that is written in Rust. */
  readonly isRust: boolean;
}

/** @param name as kata-deploy has it: `qemu-snp`, `qemu-tdx-runtime-rs` */
export function kataShim(name: string): KataShim {
  const isRust = name.endsWith("-runtime-rs");
  const defaults = "share/defaults/kata-containers";
  return {
    binary: isRust ? "runtime-rs/bin/containerd-shim-kata-v2" : "bin/containerd-shim-kata-v2",
    configuration: `${isRust ? `${defaults}/runtime-rs` : defaults}/configuration-${name}.toml`,
    isRust,
  };
}

/** Lowest version whose requests the policies pass (docs/policies.md). */
const LEAST_VERSION = [3, 30] as const;

/** @param text of kata-deploy's file `VERSION` @throws NodeError kata_version */
export function requireKataVersion(text: string, path: string): void {
  const [, major = "", minor = ""] = /^(\d+)\.(\d+)\./.exec(text.trim()) ?? [];
  const [leastMajor, leastMinor] = LEAST_VERSION;
  const isKnown =
    major !== "" && (Number(major) > leastMajor || (Number(major) === leastMajor && Number(minor) >= leastMinor));
  if (isKnown) return;
  throw new NodeError("kata_version", "this version of Kata is not supported", {
    where: path,
    got: JSON.stringify(text.trim().slice(0, 40)),
    want: `${LEAST_VERSION.join(".")} or later`,
  });
}

/**
 * The drop-in, as TOML. Kata reads it behind the configuration, and each key goes over the one there.
 *
 * @param base text of the configuration
 * @param path of it, for the error
 * @param image path of the guest image on the node
 * @throws NodeError kata_missing
 */
export function kataDropIn(base: string, path: string, { isRust }: KataShim, guest: Guest, image: string): string {
  const qemu = hypervisorOf(base, path);
  const before = typeof qemu["kernel_params"] === "string" ? qemu["kernel_params"] : "";
  const kernelParams = [before, guest.kernelParams].filter((text) => text !== "").join(" ");
  return `# Written by Contrast's node installer, and removed with its DaemonSet.\n${stringify({
    hypervisor: {
      qemu: {
        image,
        rootfs_type: guest.rootfsType,
        kernel_params: kernelParams,
        kernel_verity_params: guest.kernelVerityParams,
        // Nothing of the host is shared with the guest, and pods bring their policy and nothing else.
        shared_fs: "none",
        enable_annotations: ["cc_init_data"],
        enable_debug: false,
      },
    },
    agent: { kata: { debug_console_enabled: false, enable_debug: false, enable_tracing: false } },
    runtime: {
      // The guest is measured with its number of processors, so it does not change later.
      static_sandbox_resource_mgmt: true,
      // The guest pulls images, whatever snapshotter the node has.
      ...(isRust ? { experimental: ["force_guest_pull"] } : { experimental_force_guest_pull: true }),
    },
  })}\n`;
}

function hypervisorOf(base: string, path: string): Readonly<Record<string, unknown>> {
  try {
    const { hypervisor } = parse(base) as { hypervisor?: { qemu?: Record<string, unknown> } };
    if (hypervisor?.qemu !== undefined) return hypervisor.qemu;
  } catch (error) {
    throw new NodeError("kata_missing", "Kata's configuration is not TOML", { where: path, cause: error });
  }
  throw new NodeError("kata_missing", "Kata's configuration is not one of QEMU's", {
    where: path,
    got: "no table [hypervisor.qemu]",
    want: "the configuration that kata-deploy installs",
  });
}
