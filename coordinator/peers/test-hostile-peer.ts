import type { MessageInitShape } from "@bufbuild/protobuf";
import { pino } from "pino";
import { addMethods } from "../../api/grpc.ts";
import { type LatestResponseSchema, MeshAPI, type RecoverResponseSchema } from "../../api/meshapi_pb.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { toStatus } from "../../channel/rejection.ts";
import { listen } from "../../channel/server.ts";
import { selfSigned } from "../../channel/tls.ts";
import { generateEcKey } from "../../pki/keys.ts";
import { Budget } from "../../runtime/budget.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { coordinatorLimits } from "../serve/limits.ts";

/** For tests: a server of the attested channel that plays a Coordinator and answers whatever its host likes. */
export interface HostilePeer {
  /** What it was asked. */
  readonly asked: string[];
  readonly close: () => Promise<void>;
}

export async function startHostilePeer(
  address: string,
  attester: Attester,
  answers: {
    readonly recover: () => MessageInitShape<typeof RecoverResponseSchema>;
    readonly latest?: () => MessageInitShape<typeof LatestResponseSchema>;
  },
): Promise<HostilePeer> {
  const asked: string[] = [];
  const limits = coordinatorLimits(256 * 2 ** 20);
  const server = await listen(
    {
      identity: await selfSigned(await generateEcKey("P-256"), new Date()),
      attester,
      log: pino({ level: "silent" }),
      requests: new Budget(limits.requests),
      turns: new KeyedSemaphore(limits.turns),
      limits: limits.mesh,
      appraise: async () => "anybody",
      serve: (methods) => {
        const handlers = {
          newMeshCert: () => Promise.reject(new Error("it has none")),
          currentTrust: () => Promise.reject(new Error("it has none")),
          recover: async () => {
            asked.push("recover");
            return answers.recover();
          },
          latest: async () => {
            asked.push("latest");
            return answers.latest?.() ?? {};
          },
          useFormatGrant: () => Promise.reject(new Error("it has none")),
        };
        addMethods(methods, MeshAPI, handlers, toStatus);
      },
    },
    7777,
    address,
  );
  return { asked, close: () => server.close(0) };
}
