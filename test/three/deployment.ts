import { constants, createHash, generateKeyPairSync, privateDecrypt } from "node:crypto";
import { join } from "node:path";
import type { NewMeshCertResponse } from "../../api/meshapi_pb.ts";
import type { SetManifestResponse } from "../../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT, openSimulatedAttester } from "../../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../../attestation/simulated/vendor.ts";
import { toHex } from "../../bytes/encode.ts";
import { ChannelClient } from "../../channel/client.ts";
import { enroll } from "../../initializer/enroll.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { keyDigestOf, type Leave, leaveFor } from "../owner-leave.ts";

/** The owners of a deployment of three Coordinators, and its workload. */
export interface Owners {
  /** The software TEE of a Coordinator. @param number from 1 */
  readonly teeOf: (number: number) => string;
  readonly workloadOwner: (address: string) => Client;
  readonly seedshareOwner: (address: string) => Client;
  /** The change to a manifest that has this name in it, with its owner's leave. */
  readonly allowed: (client: Client, name: string) => Promise<Change>;
  /** What the seed share owner recovers with, from the answer to the first set. */
  readonly openSeedShare: (answer: SetManifestResponse) => SeedShare;
  /** As the Initializer of a pod does. */
  readonly enroll: (address: string) => Promise<NewMeshCertResponse>;
}

export type Client = ChannelClient<unknown>;
export type Change = { readonly manifest: Buffer; readonly policies: Buffer[] } & Leave;
export interface SeedShare {
  readonly seed: Buffer;
  readonly salt: Buffer;
  readonly pinnedTransition: Buffer;
  readonly pinnedRootKey: Uint8Array;
}

const HANDSHAKE_MS = 5000;

/** @param coordinators how many */
export async function makeOwners(directory: string, coordinators: number): Promise<Owners> {
  const [policy, workloadPolicy] = ["the Coordinator's policy", "the workload's policy"].map((text) =>
    Buffer.from(text),
  );
  if (policy === undefined || workloadPolicy === undefined) throw new Error("there are two");
  const hash = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();
  const vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  const teeOf = (number: number): string => join(directory, `tee-${number}`);
  for (let number = 1; number <= coordinators; number++) await vendor.launch(teeOf(number), { hostData: hash(policy) });
  const workloadTee = join(directory, "tee-workload");
  await vendor.launch(workloadTee, { hostData: hash(workloadPolicy) });
  const attester = await openSimulatedAttester(workloadTee);
  const owner = await generateEcKey("P-384");
  const workload = await generateEcKey("P-256");
  const seedshareOwner = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const connect = (keys: KeyPair, address: string): Client =>
    new ChannelClient({ target: `${address}:1313`, keys, handshakeMs: HANDSHAKE_MS });
  const manifest = (name: string): Buffer =>
    Buffer.from(
      JSON.stringify({
        Policies: {
          [hash(policy).toString("hex")]: { SANs: [], Role: "coordinator" },
          [hash(workloadPolicy).toString("hex")]: { SANs: ["web", name] },
        },
        ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
        WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
        SeedshareOwnerPubKeys: [toHex(spki(seedshareOwner.publicKey))],
      }),
    );
  return {
    teeOf,
    workloadOwner: (address) => connect(owner, address),
    seedshareOwner: (address) => connect(seedshareOwner, address),
    allowed: async (client, name) => {
      const bytes = manifest(name);
      return { manifest: bytes, policies: [policy, workloadPolicy], ...(await leaveFor(client, owner, bytes)) };
    },
    openSeedShare: ({ seedShares, latestTransition, rootCaCert }) => {
      const encrypted = seedShares?.shares[0]?.encryptedSeed;
      if (seedShares === undefined || encrypted === undefined) throw new Error("no seed share");
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      const key = { key: seedshareOwner.privateKey, padding, oaepHash: "sha256", oaepLabel: Buffer.from("seedshare") };
      return {
        seed: privateDecrypt(key, encrypted),
        salt: Buffer.from(seedShares.salt),
        pinnedTransition: Buffer.from(latestTransition),
        pinnedRootKey: keyDigestOf(rootCaCert),
      };
    },
    enroll: (address) => enroll(`${address}:7777`, attester, workload, () => new Date()),
  };
}
