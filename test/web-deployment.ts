import { UserAPI } from "../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import type { SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { ChannelClient } from "../channel/client.ts";
import { generateEcKey } from "../pki/keys.ts";

/** The smallest deployment: a Coordinator and one workload, web. Nobody owns it. */

/** @param hashes SHA-256 of the policies of the Coordinator and of web */
export function webManifest(
  { rootDigest }: Pick<SimulatedVendor, "rootDigest">,
  [coordinator, web]: readonly [Buffer, Buffer],
  secretId = "web",
): Buffer {
  const manifest = {
    Policies: {
      [coordinator.toString("hex")]: { SANs: [], WorkloadSecretID: "", Role: "coordinator" },
      [web.toString("hex")]: { SANs: ["web"], WorkloadSecretID: secretId, Role: "" },
    },
    ReferenceValues: { insecure: [{ RootDigest: rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  return Buffer.from(JSON.stringify(manifest));
}

/** Sets the first manifest at a Coordinator, whose evidence nobody looks at. */
export async function setManifest(address: string, manifest: Buffer, policies: readonly Buffer[]): Promise<void> {
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${address}:1313`, keys, handshakeMs: 5000 });
  try {
    const request = { manifest, policies: [...policies] };
    await client.call(UserAPI.method.setManifest, request, new Date(Date.now() + 60_000));
  } finally {
    client.close();
  }
}
