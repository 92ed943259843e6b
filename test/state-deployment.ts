import { constants, createHash, generateKeyPairSync, privateDecrypt } from "node:crypto";
import { join } from "node:path";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { type SetManifestResponse, UserAPI } from "../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { FileStore } from "../store/file-store.ts";
import { readLatestInsecure, readSeedShares, readTransitions } from "../coordinator/state/history.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { keyDigestOf, type Leave, leaveFor, signAmendment } from "./owner-leave.ts";
import { type Program, startProgram } from "./programs.ts";

/** For tests of the state: the Coordinator as the program it is, and the owners of one deployment. */
export interface Deployment {
  /** @param around variables beside its own, and a command to run it in (`startProgram`) */
  readonly start: (stateDirectory: string, around?: ProgramOptions) => Program;
  /** A client of the workload owner, and one of the seed share owner, of the Coordinator at the deployment's address. */
  readonly workloadOwner: (at?: string) => Promise<Client>;
  readonly seedshareOwner: (at?: string) => Promise<Client>;
  /** A manifest that gives a workload this name, and has a policy of its own for it. */
  readonly manifest: (name: string) => Manifest;
  /** The leave of the workload owner for any bytes, and for such a manifest: after what is in force at this moment. */
  readonly leaveFor: (client: Client, manifest: Uint8Array) => Promise<Leave>;
  readonly allowed: (client: Client, name: string) => Promise<Manifest & Leave>;
  /** An amendment that the workload owner signed, after what is in force at this moment. */
  readonly amendment: (client: Client, annex: Uint8Array) => ReturnType<typeof signAmendment>;
  /** What the seed share owner recovers with, from the answer to a set. */
  readonly openSeedShare: (answer: SetManifestResponse) => SeedShare;
  /** The same, from the disk; undefined where no manifest was set. */
  readonly storedSeedShare: (stateDirectory: string) => Promise<SeedShare | undefined>;
}

export interface ProgramOptions {
  readonly environment: Readonly<Record<string, string>>;
  readonly within: readonly string[];
}

export type Client = ChannelClient<unknown>;
export type Manifest = { readonly manifest: Buffer; readonly policies: Buffer[] };
/** Encrypted, for each owner. */
type SeedShares = { readonly salt: Uint8Array; readonly shares: readonly { readonly encryptedSeed: Uint8Array }[] };
/** With what its owner has pinned of the deployment. */
export interface SeedShare {
  readonly seed: Buffer;
  readonly salt: Buffer;
  readonly pinnedTransition: Buffer;
  readonly pinnedRootKey: Uint8Array;
}

/** @param address loopback, nobody else's */
export async function createDeployment(directory: string, address: string): Promise<Deployment> {
  const policy = Buffer.from("the Coordinator's policy");
  const vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  await vendor.launch(join(directory, "coordinator"), { hostData: createHash("sha256").update(policy).digest() });
  const owner = await generateEcKey("P-384");
  const seedshareOwner = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const connect = async (keys: KeyPair, at = address): Promise<Client> =>
    new ChannelClient({ target: `${at}:1313`, keys, handshakeMs: 10_000 });
  const open = (answer: SeedShares | undefined): Pick<SeedShare, "seed" | "salt"> => {
    const encrypted = answer?.shares[0]?.encryptedSeed;
    if (answer === undefined || encrypted === undefined) throw new Error("no seed share");
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const key = { key: seedshareOwner.privateKey, padding, oaepHash: "sha256", oaepLabel: Buffer.from("seedshare") };
    return { seed: privateDecrypt(key, encrypted), salt: Buffer.from(answer.salt) };
  };
  const manifest = (name: string): Manifest => {
    const policies = [policy, Buffer.from(`the policy of ${name}`)];
    const entries = policies.map((bytes, index) => [
      createHash("sha256").update(bytes).digest("hex"),
      index === 0 ? { SANs: [], Role: "coordinator" } : { SANs: [name] },
    ]);
    const document = {
      Policies: Object.fromEntries(entries) as unknown,
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
      SeedshareOwnerPubKeys: [toHex(spki(seedshareOwner.publicKey))],
    };
    return { manifest: Buffer.from(JSON.stringify(document)), policies };
  };
  return {
    start: (stateDirectory, around) => {
      const environment = {
        CONTRAST_TEE: "simulated",
        CONTRAST_ALLOW_INSECURE: "1",
        CONTRAST_SIMULATED_TEE_DIR: join(directory, "coordinator"),
        CONTRAST_STATE_DIR: stateDirectory,
        CONTRAST_LISTEN_ADDRESS: address,
        ...around?.environment,
      };
      return startProgram(["coordinator/main.ts"], environment, around?.within);
    },
    workloadOwner: (at) => connect(owner, at),
    seedshareOwner: (at) => connect(seedshareOwner, at),
    manifest,
    leaveFor: (client, bytes) => leaveFor(client, owner, bytes),
    allowed: async (client, name) => {
      const next = manifest(name);
      return { ...next, ...(await leaveFor(client, owner, next.manifest)) };
    },
    amendment: (client, annex) => signAmendment(client, owner, annex),
    openSeedShare: ({ seedShares, latestTransition, rootCaCert }) => ({
      ...open(seedShares),
      pinnedTransition: Buffer.from(latestTransition),
      pinnedRootKey: keyDigestOf(rootCaCert),
    }),
    storedSeedShare: async (stateDirectory) => {
      const store = await FileStore.open(stateDirectory, { pid: process.pid, host: "test", since: new Date() });
      try {
        const latest = await readLatestInsecure(store);
        const [first] = latest === undefined ? [] : await readTransitions(store, latest.transition);
        if (first === undefined) return undefined;
        return {
          ...open(await readSeedShares(store, first.seedShares)),
          pinnedTransition: Buffer.from(first.digest, "hex"),
          pinnedRootKey: Buffer.from(first.rootKey, "hex"),
        };
      } finally {
        store.close();
      }
    },
  };
}

export function call<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  return client.call(method, request, new Date(Date.now() + 20_000));
}

/** All manifests, oldest first, without those that amendments kept, after each policy that they list was found. */
export async function readHistory(client: Client): Promise<string[]> {
  const { history, policies } = await call(client, UserAPI.method.getManifests, {});
  const digests = new Set(policies.map((policy) => createHash("sha256").update(policy).digest("hex")));
  const manifests = history.flatMap(({ manifest }) => (manifest.length > 0 ? [Buffer.from(manifest).toString()] : []));
  for (const manifest of manifests) {
    for (const digest of Object.keys((JSON.parse(manifest) as { Policies: object }).Policies)) {
      if (!digests.has(digest)) throw new Error(`the policy ${digest} is missing`);
    }
  }
  return manifests;
}
