import type { MessageInitShape } from "@bufbuild/protobuf";
import type { DeploymentOwnersSchema, GetStatusResponseSchema, PeerStatusSchema } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { describeError } from "../../runtime/errors.ts";
import { VERSION } from "../../runtime/version.ts";
import { readLatestInsecure } from "../state/history.ts";
import type { PendingChanges } from "../state/pending-changes.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { readManifestInsecure } from "../state/stored-owners.ts";
import type { Store } from "../../store/store.ts";
import { pendingMessage } from "./pending-message.ts";

/** Another Coordinator of the deployment, as this one last saw it. */
export type PeerStatus = MessageInitShape<typeof PeerStatusSchema>;

interface StatusOptions {
  readonly guard: StateGuard;
  readonly store: Store;
  readonly pending: PendingChanges;
  /** What is known of the others. */
  readonly peers: () => readonly PeerStatus[];
}

/**
 * How the Coordinator is, in every state and for everybody. Strangers learn whether it serves and what the public history
 * says; what is pending, who has given a share and which peers there are is the owners'.
 */
export class CoordinatorStatus {
  readonly #options: StatusOptions;

  constructor(options: StatusOptions) {
    this.#options = options;
  }

  /** @param key SHA-256 of the connection's SubjectPublicKeyInfo, hex */
  async read(key: string): Promise<MessageInitShape<typeof GetStatusResponseSchema>> {
    const { guard } = this.#options;
    const active = guard.phase === "active" ? guard.active() : undefined;
    const state = guard.phase;
    return {
      state,
      ...(active === undefined ? {} : { inForce: inForceMessage(active) }),
      ...(guard.ownersInsecure.has(key) ? { forOwners: await this.#forOwners(key, active) } : {}),
    };
  }

  async #forOwners(key: string, active: Snapshot | undefined) {
    const { pending, peers } = this.#options;
    const isWorkloadOwner = active?.manifest.workloadOwnerKeyDigests.includes(key) === true;
    return {
      version: VERSION,
      peers: [...peers()],
      pending: isWorkloadOwner ? (await pending.list(key)).map(pendingMessage) : [],
      ...(this.#options.guard.phase === "recovery" ? { stored: await this.#stored() } : {}),
    };
  }

  /** Nothing of it is verified before the seed is there. */
  async #stored() {
    const { guard, store } = this.#options;
    let manifest: Manifest;
    try {
      const latest = await readLatestInsecure(store);
      if (latest === undefined) return { problem: "there is no manifest any more" };
      manifest = await readManifestInsecure(store, latest);
    } catch (error) {
      return { problem: describeError(error) };
    }
    return {
      owners: ownersMessage(manifest),
      gaveShare: guard.sharesGiven.map((digest) => Buffer.from(digest, "hex")),
      missingShares: guard.missingShares ?? manifest.seedshareThreshold,
    };
  }
}

function inForceMessage({ generation, manifestDigest, latest, manifest }: Snapshot) {
  return {
    generation,
    manifestDigest: Buffer.from(manifestDigest, "hex"),
    latestTransition: Buffer.from(latest.transition, "hex"),
    owners: ownersMessage(manifest),
  };
}

function ownersMessage(manifest: Manifest): MessageInitShape<typeof DeploymentOwnersSchema> {
  return {
    workloadOwners: manifest.workloadOwnerKeyDigests.map((digest) => Buffer.from(digest, "hex")),
    workloadOwnerThreshold: manifest.workloadOwnerThreshold,
    seedshareOwners: manifest.seedshareOwnerPubKeys.map((key) => Buffer.from(sha256Hex(key), "hex")),
    seedshareThreshold: manifest.seedshareThreshold,
  };
}
