import { setTimeout as delay } from "node:timers/promises";
import { withEndorsement } from "../attestation/collect/with-endorsement.ts";
import type { Attester } from "../attestation/evidence.ts";
import { EndorsementCache } from "../attestation/endorsements/cache.ts";
import { EndorsementError } from "../attestation/endorsements/error.ts";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { vendorsThrough } from "../attestation/endorsements/vendors.ts";
import { insecureReason, openAttester, teeConstraints, teeVariables } from "../attestation/open.ts";
import type { NewMeshCertResponse } from "../api/meshapi_pb.ts";
import { outcomeOf } from "../api/refusal.ts";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { openPorts, ingressVariables } from "../mesh-rules/ingress-variables.ts";
import { liftDefaultDeny } from "../netfilter/default-deny.ts";
import type { MeshGeneration } from "../manifest/generation-extensions.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";
import { type Configuration, ConfigurationError, Malformed, type Variable } from "../runtime/environment.ts";
import { describeError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { logFailure } from "../runtime/failure.ts";
import type { Logger } from "../runtime/log.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import { duration, onlyIfOne, path } from "../runtime/variables.ts";
import { coordinatorHost } from "./address.ts";
import { AttestationGate } from "./attestation-gate.ts";
import { closePorts } from "./close-ports.ts";
import { askTrust, enroll, filesOf } from "./enroll.ts";
import { type Issued, Keeper, MOST_SETTLE_MS } from "./keeper.ts";
import { GaveUp, persist } from "./persist.ts";
import { publish, type PublishedFile } from "./publish.ts";
import { asFiles, healthcheck, readPublished } from "./published.ts";
import { endOf } from "./renewal.ts";
import { generationOfChain, requireSameDeployment } from "./same-deployment.ts";
import { runVolume, volumeVariables } from "./volume/command.ts";
import { VolumeError } from "./volume/error.ts";
import { useFormatGrant } from "./volume/grant.ts";
import { volumeHealth } from "./volume/mounts.ts";

/** Read permission only, and always for the owner: 0400 to 0444. */
const keyMode: Variable<number> = {
  help: "mode of key.pem and workload-secret-seed (default: 0400)",
  unset: 0o400,
  parse(text) {
    if (!/^0?4[04][04]$/.test(text)) throw Malformed.text(text, "0400, 0440, 0404 or 0444");
    return Number.parseInt(text, 8);
  },
};

const INGRESS = Object.keys(ingressVariables) as (keyof typeof ingressVariables)[];

const now = (): Date => new Date();

const variables = {
  COORDINATOR_HOST: coordinatorHost,
  CONTRAST_TLS_CONFIG_DIR: path("/tls-config", "the folder for certificates and keys"),
  CONTRAST_TIMEOUT: duration(undefined, "give up after this time, like 5m (default: never)"),
  CONTRAST_KEY_MODE: keyMode,
  ...ingressVariables,
  CONTRAST_LIFT_DEFAULT_DENY: onlyIfOne(
    "1: remove the guest's default deny when all files are written; the pod's ports are then open",
  ),
  ...endorsementVariables,
  ...teeVariables,
  CONTRAST_OPEN_ATTESTATION_API: onlyIfOne(
    "1: leave CoCo's attestation API open to everything in the pod; DANGEROUS where there is an application",
  ),
  ...volumeVariables,
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
      {
        about: ["CONTRAST_LIFT_DEFAULT_DENY", ...INGRESS],
        faults: ({ CONTRAST_LIFT_DEFAULT_DENY: lifts, ...ingress }) =>
          lifts && openPorts(ingress) !== undefined
            ? [
                {
                  where: "CONTRAST_LIFT_DEFAULT_DENY",
                  got: '"1"',
                  want: "it unset where CONTRAST_INGRESS_PROXY_CONFIG is set",
                },
              ]
            : [],
      },
    ],
    insecure: insecureReason,
    run: (running) => run(running, false),
    commands: {
      keep: {
        help: "does the same, and stays: renews the certificates before they expire and after a `set`",
        isConstrained: true,
        run: (running) => run(running, true),
      },
      healthcheck: {
        help: "checks whether there is a certificate that has not expired: exit code 0 or 1",
        async run({ configuration }) {
          const { isGood, text } = await healthcheck(configuration.CONTRAST_TLS_CONFIG_DIR, now());
          process.stdout.write(`${text}\n`);
          return isGood ? EXIT.done : EXIT.failed;
        },
      },
      "static-rules": {
        help: "closes all ports of the pod except those with #true in CONTRAST_INGRESS_PROXY_CONFIG; gets no certificates",
        async run({ configuration, log }) {
          const open = openPorts(configuration);
          if (open === undefined) {
            const where = "CONTRAST_INGRESS_PROXY_CONFIG, CONTRAST_INGRESS_MODE";
            const faults = [{ where, got: "no ingress to filter", want: "rules, and not mode bind" }];
            logFailure(log, new ConfigurationError(faults));
            return EXIT.usage;
          }
          await closePorts(open, process.env, log);
          await gateOf(configuration, log).secure();
          return EXIT.done;
        },
      },
      volume: {
        help: "opens an encrypted volume, mounts it and stays; formats it only where an owner allows that",
        isConstrained: true,
        run: runVolumeCommand,
      },
      "volume-healthcheck": {
        help: "checks whether the encrypted volume is mounted: exit code 0 or 1",
        async run({ configuration }) {
          const { isGood, text } = await volumeHealth(configuration.CONTRAST_VOLUME_MOUNT);
          process.stdout.write(`${text}\n`);
          return isGood ? EXIT.done : EXIT.failed;
        },
      },
      "lift-default-deny": {
        help: "removes the guest's default deny, for a pod without certificates and without static rules",
        async run({ configuration, log }) {
          await gateOf(configuration, log).secure();
          await liftDefaultDeny(process.env, log);
          return EXIT.done;
        },
      },
    },
  },
  process,
);

async function run(running: Running<typeof variables>, keeps: boolean): Promise<number> {
  const { configuration, log, stop } = running;
  try {
    // Before anything else: whoever has certificates is a pod that nobody got into before.
    const open = openPorts(configuration);
    if (open !== undefined) await closePorts(open, process.env, log);
    const gate = gateOf(configuration, log);
    await gate.secure();
    const enroll = await enroller(configuration, gate, log);
    const directory = configuration.CONTRAST_TLS_CONFIG_DIR;
    const keyMode = configuration.CONTRAST_KEY_MODE;
    // Of a container before this one, which ended while the pod ran: the application has it, and need not wait.
    const before = keeps ? await readPublished(directory) : undefined;
    if (before !== undefined) {
      log.info({ until: endOf(before["certChain.pem"]).toISOString() }, "the certificates of an earlier run are kept");
      const pin = { root: before["coordinator-root-ca.pem"], generation: generationOfChain(before["certChain.pem"]) };
      return await keep(running, { enroll, gate, pin, files: asFiles(before, keyMode), issued: undefined });
    }
    const timeout = configuration.CONTRAST_TIMEOUT;
    const timeUp = timeout === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(timeout)]);
    log.info(
      { coordinator: configuration.COORDINATOR_HOST, tee: configuration.CONTRAST_TEE },
      "requesting certificates",
    );
    const { response, keys } = await persist(enroll, {
      log,
      stop: timeUp,
      random: Math.random,
      sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
    });
    // Others may not trust this mesh CA yet.
    const settleMs = Math.min(response.settleMs, MOST_SETTLE_MS);
    if (settleMs > 0) log.info({ settleMs }, "the mesh CA is new: waiting until others have heard of it");
    await delay(settleMs, undefined, { signal: timeUp }).catch((cause: unknown) => {
      throw new GaveUp("gave_up", "stopped while the mesh CA was new to others", { cause });
    });
    // It may have come up since. What follows lets the application start.
    await gate.secure();
    // Who stays can take away what is not to be trusted for long.
    const issued = issuedBy(response, keys, keyMode);
    const files = issued.files(keeps ? issued.previous : []);
    // Of this program's end or of its files the application's start depends, so it is the last that it does.
    const lift = async (): Promise<void> => {
      if (configuration.CONTRAST_LIFT_DEFAULT_DENY) await liftDefaultDeny(process.env, log);
    };
    if (keeps) await lift();
    await publish(directory, files);
    log.info({ directory, files: files.map((file) => file.name) }, "certificates written");
    if (!keeps) {
      await lift();
      return EXIT.done;
    }
    const pin = { root: response.rootCaCert, generation: generationOfChain(response.certChain) };
    return await keep(running, { enroll, gate, pin, files, issued });
  } catch (error) {
    logFailure(log, error);
    return exitCode(error);
  }
}

async function runVolumeCommand(running: Running<typeof variables>): Promise<number> {
  const { configuration, log } = running;
  try {
    const use = async (volume: string): Promise<void> => {
      const attester = await attesterOf(configuration, gateOf(configuration, log), log);
      await useFormatGrant(configuration.COORDINATOR_HOST, attester, volume, now);
    };
    return await runVolume(running, { useFormatGrant: use, random: Math.random });
  } catch (error) {
    logFailure(log, error);
    return exitCode(error);
  }
}

type Gate = Pick<AttestationGate, "secure" | "through">;

/** One try to get a certificate, for a new key. */
type Enroll = () => Promise<{ readonly response: NewMeshCertResponse; readonly keys: KeyPair }>;

async function enroller(configuration: Configuration<typeof variables>, gate: Gate, log: Logger): Promise<Enroll> {
  const attester = await attesterOf(configuration, gate, log);
  return async () => {
    const keys = await generateEcKey("P-256");
    return { response: await enroll(configuration.COORDINATOR_HOST, attester, keys, now), keys };
  };
}

async function attesterOf(configuration: Configuration<typeof variables>, gate: Gate, log: Logger): Promise<Attester> {
  const network = { fetch, now, random: Math.random, sleep: delay };
  const endorsements = new EndorsementCache({
    network,
    // What it asked for is kept from one try to the next.
    directory: undefined,
    proxy: configuration.CONTRAST_COLLATERAL_PROXY,
    onWarning: (message, url, error) => log.warn({ url: url.href }, `${message}: ${describeError(error)}`),
  });
  const tee = await openAttester(configuration, network, (use) => gate.through(use));
  return withEndorsement(tee, vendorsThrough(endorsements), {}, (error) => {
    // The Coordinator asks nobody for it.
    throw error;
  });
}

function issuedBy(response: NewMeshCertResponse, keys: KeyPair, keyMode: number): Issued {
  return {
    certChain: response.certChain,
    meshCa: response.meshCaCert,
    previous: response.previousMeshCaCerts,
    settleMs: response.settleMs,
    files: (previous) => filesOf(response, keys, keyMode, previous),
  };
}

interface Keeping {
  readonly enroll: Enroll;
  readonly gate: Gate;
  /** Of the first certificate: what comes later has to be of the same Coordinator. */
  readonly pin: { readonly root: string; readonly generation: MeshGeneration | undefined };
  /** As they are published. */
  readonly files: readonly PublishedFile[];
  readonly issued: Issued | undefined;
}

/** Stays until it is told to stop. */
async function keep(
  { configuration, log, stop }: Running<typeof variables>,
  { enroll, gate, pin, files, issued }: Keeping,
): Promise<number> {
  // Anybody's: who asks shows no evidence.
  const keys = await generateEcKey("P-256");
  let { generation } = pin;
  const keeper = new Keeper(
    {
      async enroll() {
        const { response, keys: own } = await enroll();
        const given = { certChain: response.certChain, meshCa: response.meshCaCert };
        generation = requireSameDeployment(given, own.publicKey, pin.root, generation);
        return issuedBy(response, own, configuration.CONTRAST_KEY_MODE);
      },
      askTrust: () => askTrust(configuration.COORDINATOR_HOST, keys, now),
      async publish(set) {
        await gate.secure();
        await publish(configuration.CONTRAST_TLS_CONFIG_DIR, set);
      },
      now: () => ({ wall: now(), monotonic: performance.now() }),
      random: Math.random,
      log,
    },
    files,
    issued,
  );
  while (!stop.aborted) {
    const ms = await keeper.turn();
    await delay(ms, undefined, { signal: stop }).catch(() => undefined);
  }
  log.info("stopping: the certificates stay");
  return EXIT.done;
}

function gateOf(
  configuration: Pick<
    Configuration<typeof variables>,
    "CONTRAST_TEE" | "CONTRAST_ATTESTATION_API" | "CONTRAST_OPEN_ATTESTATION_API"
  >,
  log: Logger,
): Gate {
  // The software TEE has no guest.
  if (configuration.CONTRAST_TEE === "simulated") return { secure: async () => {}, through: (use) => use(undefined) };
  return new AttestationGate({
    address: configuration.CONTRAST_ATTESTATION_API,
    allowOpen: configuration.CONTRAST_OPEN_ATTESTATION_API,
    environment: process.env,
    log,
    random: Math.random,
  });
}

/** 3: refused for good. 4 and 5: time was up while the Coordinator or a vendor was unreachable, or the former not ready. */
function exitCode(error: unknown): number {
  const reason = error instanceof GaveUp ? error.cause : error;
  if (reason instanceof RemoteError) return outcomeOf(reason.code)?.exit ?? EXIT.refused;
  if (reason instanceof VolumeError) return reason.isAboutDisk ? EXIT.refused : EXIT.failed;
  if (reason instanceof ConfigurationError) return EXIT.usage;
  if (reason instanceof ChannelError || reason instanceof EndorsementError) return EXIT.unreachable;
  return EXIT.failed;
}
