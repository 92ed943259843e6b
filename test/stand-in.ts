import { pino } from "pino";
import { addMethods, type Handlers } from "../api/grpc.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { toStatus } from "../channel/rejection.ts";
import { type ChannelServer, listen } from "../channel/server.ts";
import { selfSigned } from "../channel/tls.ts";
import { coordinatorLimits } from "../coordinator/serve/limits.ts";
import { appraiseUser } from "../coordinator/serve/user-api.ts";
import { generateEcKey } from "../pki/keys.ts";
import { Budget } from "../runtime/budget.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";

type Answers = Handlers<typeof UserAPI.method>;

/**
 * A Coordinator that is attested and answers as it is told.
 *
 * @param vm the folder of its simulated VM
 * @param answers what it is not told to answer nobody may ask
 */
export async function standIn(address: string, vm: string, answers: Partial<Answers>): Promise<ChannelServer> {
  const limits = coordinatorLimits(2 ** 30);
  const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
  const names = Object.keys(UserAPI.method) as (keyof Answers)[];
  const none = Object.fromEntries(names.map((name) => [name, unasked])) as unknown as Answers;
  return listen(
    {
      identity: await selfSigned(await generateEcKey("P-256"), new Date()),
      attester: await openSimulatedAttester(vm),
      log: pino({ level: "silent" }),
      limits: limits.user,
      requests: new Budget(limits.requests),
      turns: new KeyedSemaphore(limits.turns),
      appraise: appraiseUser,
      serve: (methods) => addMethods(methods, UserAPI, { ...none, ...answers }, toStatus, () => undefined),
    },
    1313,
    address,
  );
}
