import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Server } from "@grpc/grpc-js";
import { addService } from "../api/grpc.ts";
import { type SetManifestResponseSchema, UserAPI } from "../api/userapi_pb.ts";
import type { Appraiser } from "../channel/exchange.ts";
import { toStatus } from "../channel/rejection.ts";
import { spkiDigest } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "./metrics.ts";
import type { SetResult, StateGuard } from "./state-guard.ts";

/** The API for people: workload owners set manifests, data owners read the history, seed share owners recover. */

/** Whoever connects. All that is known is the key that the connection was made with. */
export interface User {
  /** SHA-256 of its SubjectPublicKeyInfo, hex. */
  readonly key: string;
}

export interface UserApiOptions {
  readonly guard: StateGuard;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export const appraiseUser: Appraiser<User> = async ({ publicKey }) => ({ key: spkiDigest(publicKey).toString("hex") });

export function serveUserApi(server: Server, user: User, { guard, metrics, log }: UserApiOptions): void {
  const handlers = metrics.instrument(UserAPI, {
    async setManifest({ manifest, policies, latestTransition }) {
      const result = await guard.set({ manifest, policies, latestTransition, callerKey: user.key });
      const { manifestDigest, generation } = result.snapshot;
      log.info({ manifest: manifestDigest, generation, by: user.key }, "manifest set");
      return describeSet(result);
    },
    async getManifests() {
      const { records, policies, authority } = await guard.history();
      return {
        history: records.map(({ manifest, transition }) => ({ manifest, transition: Buffer.from(transition, "hex") })),
        policies: [...policies],
        rootCaCert: authority.rootCa,
        meshCaCert: authority.meshCa,
      };
    },
    async recover({ seed, salt, force }) {
      const { authority, manifestDigest, generation } = await guard.recover(seed, salt, force);
      log.info({ manifest: manifestDigest, generation, by: user.key }, "recovered; restart the workloads");
      return { rootCaCert: authority.rootCa, meshCaCert: authority.meshCa };
    },
  });
  addService(server, UserAPI, handlers, (error) => {
    log.warn({ by: user.key }, `request refused: ${describeError(error)}`);
    return toStatus(error);
  });
}

function describeSet({ snapshot, seedShares }: SetResult): MessageInitShape<typeof SetManifestResponseSchema> {
  return {
    rootCaCert: snapshot.authority.rootCa,
    meshCaCert: snapshot.authority.meshCa,
    latestTransition: Buffer.from(snapshot.latest.transition, "hex"),
    ...(seedShares === undefined ? {} : { seedShares: { salt: seedShares.salt, shares: [...seedShares.shares] } }),
  };
}
