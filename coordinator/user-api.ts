import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Server } from "@grpc/grpc-js";
import { addService } from "../api/grpc.ts";
import { type SeedSharesSchema, UserAPI } from "../api/userapi_pb.ts";
import type { Appraiser } from "../channel/exchange.ts";
import { toStatus } from "../channel/rejection.ts";
import { spki, spkiDigest } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { Secret } from "../runtime/secret.ts";
import { inForce, reasonOf } from "./audit.ts";
import type { Audit } from "./audit-events.ts";
import type { Metrics } from "./metrics.ts";
import type { SeedShares } from "./seed-shares.ts";
import type { StateGuard } from "./state-guard.ts";

/** The API for people: workload owners set manifests, data owners read the history, seed share owners recover. */

/** Whoever connects. All that is known is the key that the connection was made with. */
export interface User {
  readonly address: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  /** SHA-256 of it, hex. */
  readonly key: string;
}

export interface UserApiOptions {
  readonly guard: StateGuard;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly log: Logger;
}

export const appraiseUser: Appraiser<User> = async ({ address, publicKey }) => ({
  address,
  spki: spki(publicKey),
  key: spkiDigest(publicKey).toString("hex"),
});

export function serveUserApi(server: Server, user: User, { guard, metrics, audit, log }: UserApiOptions): void {
  const who = { peer: user.address, key: user.key };
  const handlers = metrics.instrument(UserAPI, {
    async setManifest({ manifest, policies, latestTransition, signature }, { signal }) {
      const request = { manifest, policies, latestTransition, signature, callerKey: user.key };
      const { snapshot, owner } = await guard.set(request, signal);
      const { authority, latest, manifestDigest, generation, seedShares } = snapshot;
      log.info({ manifest: manifestDigest, generation, by: owner ?? user.key }, "manifest set");
      const set = { manifest: manifestDigest, generation, transition: latest.transition };
      audit.record({ event: "manifest_set", ...who, ...(owner === undefined ? {} : { owner }), ...set });
      return {
        rootCaCert: authority.rootCa,
        meshCaCert: authority.meshCa,
        latestTransition: Buffer.from(latest.transition, "hex"),
        seedShares: toMessage(seedShares),
      };
    },
    async getManifests() {
      const { records, policies, seedShares, authority } = await guard.history();
      return {
        history: records.map(({ manifest, transition }) => ({ manifest, transition: Buffer.from(transition, "hex") })),
        policies: [...policies],
        rootCaCert: authority.rootCa,
        meshCaCert: authority.meshCa,
        seedShares: toMessage(seedShares),
      };
    },
    async recover({ seed, salt, force }, { signal }) {
      const request = { share: new Secret(seed), salt, callerSpki: user.spki, force };
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
  addService(server, UserAPI, handlers, (error, method) => {
    log.warn({ by: user.key }, `request refused: ${describeError(error)}`);
    audit.record({ event: "request_refused", api: "user", method, ...who, ...inForce(guard), ...reasonOf(error) });
    return toStatus(error);
  });
}

function toMessage({ salt, threshold, shares }: SeedShares): MessageInitShape<typeof SeedSharesSchema> {
  return { salt, threshold, shares: shares.map(({ publicKey, encryptedSeed }) => ({ publicKey, encryptedSeed })) };
}
