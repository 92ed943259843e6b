import { parse } from "smol-toml";
import { expect, test } from "vitest";
import type { Guest } from "./guest.ts";
import { kataDropIn, kataShim, requireKataVersion } from "./kata.ts";

const GUEST: Guest = {
  image: "guest.img",
  sha256: "0".repeat(64),
  rootfsType: "erofs",
  kernelParams: "agent.guest_components_rest_api=attestation",
  kernelVerityParams: "root_hash=ab,salt=cd,data_blocks=1,data_block_size=4096,hash_block_size=4096",
};
const BASE = `[hypervisor.qemu]
image = "/opt/kata/share/kata-containers/kata-containers-confidential.img"
kernel_params = "cgroup_no_v1=all"
shared_fs = "virtio-fs"
`;

test("the drop-in puts the guest image over Kata's, and keeps its kernel parameters", () => {
  const text = kataDropIn(BASE, "base.toml", kataShim("qemu-snp"), GUEST, "/opt/contrast/x/guest.img");
  expect(parse(text)).toEqual({
    hypervisor: {
      qemu: {
        image: "/opt/contrast/x/guest.img",
        rootfs_type: "erofs",
        kernel_params: "cgroup_no_v1=all agent.guest_components_rest_api=attestation",
        kernel_verity_params: GUEST.kernelVerityParams,
        shared_fs: "none",
        enable_annotations: ["cc_init_data"],
        enable_debug: false,
      },
    },
    agent: { kata: { debug_console_enabled: false, enable_debug: false, enable_tracing: false } },
    runtime: { static_sandbox_resource_mgmt: true, experimental_force_guest_pull: true },
  });
});

test("the shim in Rust has other places, and another way to say that the guest pulls images", () => {
  const shim = kataShim("qemu-tdx-runtime-rs");
  expect(shim).toEqual({
    binary: "runtime-rs/bin/containerd-shim-kata-v2",
    configuration: "share/defaults/kata-containers/runtime-rs/configuration-qemu-tdx-runtime-rs.toml",
    isRust: true,
  });
  expect(parse(kataDropIn(BASE, "base.toml", shim, GUEST, "g"))).toMatchObject({
    runtime: { experimental: ["force_guest_pull"] },
  });
});

test.for(["[hypervisor.clh]\n", "nonsense = ", ""])("the configuration %j is not one of QEMU's", (base) => {
  expect(() => kataDropIn(base, "base.toml", kataShim("qemu-snp"), GUEST, "g")).toThrow(
    expect.objectContaining({ code: "kata_missing", where: "base.toml" }),
  );
});

test.for(["3.30.0", "3.31.1\n", "4.0.0-rc1", "4.1.0", "10.0.0"])("Kata %j is supported", (version) => {
  expect(() => requireKataVersion(version, "VERSION")).not.toThrow();
});

test.for(["3.29.0", "2.99.0", "3.30", "", "main", "x".repeat(99)])("Kata %j is refused by name", (version) => {
  expect(() => requireKataVersion(version, "VERSION")).toThrow(expect.objectContaining({ code: "kata_version" }));
});
