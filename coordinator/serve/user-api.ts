import { addMethods, requireSmall } from "../../api/grpc.ts";
import type { Methods } from "../../api/grpc-server.ts";
import type { Status } from "../../api/status.ts";
import { UserAPI } from "../../api/userapi_pb.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Appraiser } from "../../channel/exchange.ts";
import { toStatus } from "../../channel/rejection.ts";
import { spki, spkiDigest } from "../../pki/keys.ts";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { Secret } from "../../runtime/secret.ts";
import { inForce, reasonOf } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import { type EncodedHistory, toMessage } from "../state/encoded-history.ts";
import type { Metrics } from "../observe/metrics.ts";
import { amend, amendedMessage, sealSecret, tellOfAmendment } from "./amend-api.ts";
import { newRootKeyOf, requireMayAmend, requireMaySetManifest, signaturesOf } from "./set-permit.ts";
import { requireAnyOwner } from "./owner-places.ts";
import { requireOwnerKey, requireRekeyOwner } from "../state/authorize.ts";
import type { PendingChange } from "../state/pending.ts";
import type { PendingChanges } from "../state/pending-changes.ts";
import type { AmendResult } from "../state/amend.ts";
import type { SetResult } from "../state/set.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { digestOf, pendingMessage } from "./pending-message.ts";
import type { CoordinatorStatus } from "./status.ts";
import { tellOfPending, tellOfSet, tidyLater } from "./tell-of-set.ts";
import type { User } from "./user.ts";

/** The API for people: workload owners set manifests, data owners read the history, seed share owners recover. */

export interface UserApiOptions {
  readonly guard: StateGuard;
  /** What is answered to whoever asks for the history. */
  readonly history: EncodedHistory;
  readonly pending: PendingChanges;
  readonly status: CoordinatorStatus;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly log: Logger;
}

export const appraiseUser: Appraiser<User> = async ({ address, publicKey }) => ({
  address,
  spki: spki(publicKey),
  key: toHex(spkiDigest(publicKey)),
});

export function serveUserApi(methods: Methods, user: User, options: UserApiOptions): void {
  const { guard, history, pending, metrics, audit, log } = options;
  const who = { peer: user.address, key: user.key };
  const leftPending = (change: PendingChange) => {
    tellOfPending(change, who, options);
    return { pending: pendingMessage(change) };
  };
  const wasAmended = (result: AmendResult) => {
    tellOfAmendment(result, user, options);
    tidyLater(options);
    const { authority, seedShares } = result.snapshot;
    const certificates = { rootCaCert: authority.rootCa, meshCaCert: authority.meshCa };
    return { ...amendedMessage(result), ...certificates, seedShares: toMessage(seedShares) };
  };
  const wasSet = (result: SetResult) => {
    tellOfSet(result, who, options);
    tidyLater(options);
    const { snapshot, record, overlapRefused } = result;
    const { authority, latest, seedShares } = snapshot;
    const [previous] = snapshot.previousMeshes;
    return {
      rootCaCert: authority.rootCa,
      meshCaCert: authority.meshCa,
      latestTransition: Buffer.from(latest.transition, "hex"),
      seedShares: toMessage(seedShares),
      transitionRecord: record,
      ...(previous && { previousMeshCaUntil: BigInt(Math.floor(previous.until.getTime() / 1000)) }),
      ...(overlapRefused !== undefined && { overlapRefused }),
    };
  };
  const handlers = metrics.instrument(UserAPI, {
    async setManifest(message, { signal }) {
      const { manifest, policies, latestTransition, signedMeshKey, revoke } = message;
      const newRootKey = newRootKeyOf(message);
      await history.requireRoomFor([manifest, ...policies]);
      const request = {
        manifest,
        policies,
        latestTransition,
        signatures: signaturesOf(message),
        signedMeshKey: signedMeshKey.length === 0 ? undefined : signedMeshKey,
        callerKey: user.key,
        newRootKey,
        revoke,
      };
      if (!message.leavePending) return wasSet(await guard.set(request, signal));
      const result = await guard.propose(request, signal);
      return "pending" in result ? leftPending(result.pending) : wasSet(result);
    },
    async prepareRekey() {
      const { manifest, manifestDigest, generation } = guard.active();
      requireRekeyOwner(manifest, user.key);
      const { engine, after, until } = guard.prepareRekey();
      const rootKey = spki(engine.rootKey.publicKey);
      const prepared = { root: sha256Hex(rootKey), until: until.toISOString() };
      log.info({ ...prepared, by: user.key }, "a rekey is prepared");
      audit.record({ event: "rekey_prepared", ...who, manifest: manifestDigest, generation, ...prepared });
      return {
        rootKey,
        latestTransition: Buffer.from(after.latest.transition, "hex"),
        meshKey: spkiDigest(after.authority.meshKey.publicKey),
        until: BigInt(until.getTime()),
      };
    },
    async listPending() {
      return { pending: (await pending.list(user.key)).map(pendingMessage) };
    },
    getPending: ({ manifestDigest, fromPolicy }) =>
      pending.read(user.key, digestOf(manifestDigest, "manifest_digest"), fromPolicy),
    async dropPending({ manifestDigest }) {
      const digest = digestOf(manifestDigest, "manifest_digest");
      const left = await pending.drop(user.key, digest);
      log.info({ manifest: digest, by: user.key }, "signature of a pending change taken back");
      const { owners, missing } = left;
      audit.record({ event: "change_dropped", ...who, ...inForce(guard), pending: digest, owners, missing });
      return { pending: pendingMessage(left) };
    },
    async signPending({ manifestDigest, latestTransition, signature, signedMeshKey, revoke }, { signal }) {
      const request = {
        subject: digestOf(manifestDigest, "manifest_digest"),
        latestTransition,
        signature,
        signedMeshKey: signedMeshKey.length === 0 ? undefined : signedMeshKey,
        callerKey: user.key,
        revoke,
      };
      const result = await pending.sign(request, signal);
      if ("pending" in result) return leftPending(result.pending);
      return "before" in result ? wasAmended(result) : wasSet(result);
    },
    getStatus: () => options.status.read(user.key),
    sealSecret: (message) => sealSecret(message, user, options),
    async amend(message, { signal }) {
      const result = await amend(message, user, options, signal);
      if ("pending" in result) return leftPending(result.pending);
      tidyLater(options);
      return amendedMessage(result);
    },
    getManifests: () => history.read(),
    async recover({ seed, salt, force, pinnedTransition, pinnedRootKey }, { signal }) {
      if (force || guard.phase === "recovery" || guard.phase === "stale") requireAnyOwner(guard, user);
      const pins = { transition: pinnedTransition, rootKey: pinnedRootKey };
      const request = { share: new Secret(seed), salt, callerSpki: user.spki, pins, force };
      const { missingShares, recovered } = await guard.recover(request, signal);
      if (recovered === undefined) {
        log.info({ missing: missingShares, by: user.key }, "seed share accepted");
        audit.record({ event: "share_accepted", ...who, missing: missingShares });
        return { missingShares };
      }
      const { snapshot, manifest } = recovered;
      const { authority, manifestDigest, generation } = snapshot;
      log.info({ manifest: manifestDigest, generation, by: user.key }, "recovered; restart the workloads");
      audit.record({ event: "recovered", ...who, manifest: manifestDigest, generation });
      return { missingShares, rootCaCert: authority.rootCa, meshCaCert: authority.meshCa, manifest };
    },
  });
  const refuse = (error: unknown, method: string): Status => {
    log.warn({ by: user.key }, `request refused: ${describeError(error)}`);
    audit.record({ event: "request_refused", api: "user", method, ...who, ...inForce(guard), ...reasonOf(error) });
    return toStatus(error);
  };
  addMethods(methods, UserAPI, handlers, refuse, (method, headers) => {
    if (method === UserAPI.method.setManifest.name) requireMaySetManifest(guard, user.key, headers);
    else if (method === UserAPI.method.amend.name) requireMayAmend(guard, user.key, headers);
    else if (method === UserAPI.method.sealSecret.name) requireOwnerKey(guard.active().manifest, user.key, "caller's");
    else requireSmall(method);
  });
}
