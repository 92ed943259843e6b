import { setTimeout as delay } from "node:timers/promises";
import { insecureReason, openAttester, teeConstraints, teeVariables } from "../attestation/open.ts";
import { outcomeOf } from "../api/refusal.ts";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { liftDefaultDeny } from "../netfilter/default-deny.ts";
import { generateEcKey } from "../pki/keys.ts";
import { Malformed, type Variable } from "../runtime/environment.ts";
import { CodedError, describeError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import { duration, onlyIfOne, path } from "../runtime/variables.ts";
import { coordinatorHost } from "./address.ts";
import { enroll, filesOf } from "./enroll.ts";
import { GaveUp, persist } from "./persist.ts";
import { publish } from "./publish.ts";

/** Read permission only, and always for the owner: 0400 to 0444. */
const keyMode: Variable<number> = {
  help: "mode of key.pem and workload-secret-seed (default: 0400)",
  unset: 0o400,
  parse(text) {
    if (!/^0?4[04][04]$/.test(text)) throw Malformed.text(text, "0400, 0440, 0404 or 0444");
    return Number.parseInt(text, 8);
  },
};

const now = (): Date => new Date();

const variables = {
  COORDINATOR_HOST: coordinatorHost,
  CONTRAST_TLS_CONFIG_DIR: path("/tls-config", "where certificates and keys are written"),
  CONTRAST_TIMEOUT: duration(undefined, "give up after this long, like 5m (default: never)"),
  CONTRAST_KEY_MODE: keyMode,
  CONTRAST_LIFT_DEFAULT_DENY: onlyIfOne("1: nothing guards the pod's ports, so let the world in when all is written"),
  ...teeVariables,
} as const;

await runProgram(
  {
    name: "initializer",
    summary: "proves this confidential VM to the Coordinator and writes the certificates it gets",
    variables,
    constraints: [
      ...teeConstraints,
      {
        about: ["COORDINATOR_HOST"],
        faults: ({ COORDINATOR_HOST: host }) =>
          host === "" ? [{ where: "COORDINATOR_HOST", got: "nothing", want: "the Coordinator's host" }] : [],
      },
    ],
    insecure: insecureReason,
    run,
    commands: {
      "lift-default-deny": {
        help: "lets the world into a pod that needs no certificates, such as the Coordinator's: no mesh proxy guards it",
        async run({ log }) {
          await liftDefaultDeny(process.env, log);
          return EXIT.done;
        },
      },
    },
  },
  process,
);

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const target = configuration.COORDINATOR_HOST;
  const timeout = configuration.CONTRAST_TIMEOUT;
  const timeUp = timeout === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(timeout)]);
  try {
    const attester = await openAttester(configuration, { fetch, now, random: Math.random, sleep: delay });
    const keys = await generateEcKey("P-256");
    log.info({ coordinator: target, tee: configuration.CONTRAST_TEE }, "asking for certificates");
    const response = await persist(() => enroll(target, attester, keys, now), {
      log,
      stop: timeUp,
      random: Math.random,
      sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
    });
    const directory = configuration.CONTRAST_TLS_CONFIG_DIR;
    const files = filesOf(response, keys, configuration.CONTRAST_KEY_MODE);
    await publish(directory, files);
    log.info({ directory, files: files.map((file) => file.name) }, "certificates written");
    if (configuration.CONTRAST_LIFT_DEFAULT_DENY) await liftDefaultDeny(process.env, log);
    return EXIT.done;
  } catch (error) {
    log.fatal(codeOf(error), describeError(error));
    return exitCode(error);
  }
}

function codeOf(error: unknown): { code?: string } {
  return error instanceof CodedError ? { code: error.code } : {};
}

/** 3: refused for good. 4 and 5: time was up while the Coordinator was unreachable, or not ready. */
function exitCode(error: unknown): number {
  const reason = error instanceof GaveUp ? error.cause : error;
  if (reason instanceof RemoteError) return outcomeOf(reason.code)?.exit ?? EXIT.refused;
  if (reason instanceof ChannelError) return EXIT.unreachable;
  return EXIT.failed;
}
