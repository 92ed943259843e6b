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
import { secretTemplates } from "../secret-files/templates-variable.ts";
import { coordinatorHost } from "./address.ts";
import { AttestationGate } from "./attestation-gate.ts";
import { closePorts } from "./close-ports.ts";
import { askInForce, enroll, filesOf } from "./enroll.ts";
import {
  type GrantedSecret,
  grantedSecrets,
  requireNotOlder,
  type SecretVersions,
  versionsOf,
} from "./granted-secrets.ts";
import { type Issued, Keeper, MOST_SETTLE_MS } from "./keeper.ts";
import { GaveUp, persist } from "./persist.ts";
import { publish, type PublishedFile } from "./publish.ts";
import { asFiles, healthcheck, publishedVersions, readPublished, readSecretFiles } from "./published.ts";
import { endOf } from "./renewal.ts";
import { SecretError } from "./secret-error.ts";
import { secretFiles } from "./secret-files.ts";
import { generationOfChain, requireSameDeployment } from "./same-deployment.ts";
import { runVolume, volumeVariables } from "./volume/command.ts";
import { VolumeError } from "./volume/error.ts";
import { useFormatGrant } from "./volume/grant.ts";
import { volumeHealth } from "./volume/mounts.ts";

/** Read permission only, and always for the owner: 0400 to 0444. */
const keyMode: Variable<number> = {
  help: "mode of key.pem, workload-secret-seed and the files in secrets/ (default: 0400)",
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
  CONTRAST_SECRET_TEMPLATES: secretTemplates,
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
    // Of a container before this one, which ended while the pod ran: the application has it, and need not wait.
    const before = keeps ? await readPublished(directory) : undefined;
    if (before !== undefined) {
      log.info({ until: endOf(before["certChain.pem"]).toISOString() }, "the certificates of an earlier run are kept");
      const pin = {
        root: before["coordinator-root-ca.pem"],
        generation: generationOfChain(before["certChain.pem"]),
        secrets: await publishedVersions(directory),
      };
      const files = asFiles(before, configuration.CONTRAST_KEY_MODE);
      return await keep(running, { enroll, gate, pin, files, issued: undefined });
    }
    const timeout = configuration.CONTRAST_TIMEOUT;
    const timeUp = timeout === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(timeout)]);
    log.info(
      { coordinator: configuration.COORDINATOR_HOST, tee: configuration.CONTRAST_TEE },
      "requesting certificates",
    );
    // Before there are all secrets that its templates need, the pod is not ready to start.
    const attempt = async (): Promise<Enrolled & { readonly issued: Issued }> => {
      const enrolled = await enroll();
      return { ...enrolled, issued: issuedBy(enrolled, configuration).issued };
    };
    const { response, secrets, issued } = await persist(attempt, {
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
    const generation = generationOfChain(response.certChain);
    const pin = { root: response.rootCaCert, generation, secrets: versionsOf(secrets) };
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

interface Enrolled {
  readonly response: NewMeshCertResponse;
  readonly keys: KeyPair;
  readonly secrets: readonly GrantedSecret[];
}

/** One try to get a certificate, for a new key, and the secrets. */
type Enroll = () => Promise<Enrolled>;

async function enroller(configuration: Configuration<typeof variables>, gate: Gate, log: Logger): Promise<Enroll> {
  const attester = await attesterOf(configuration, gate, log);
  return async () => {
    const keys = await generateEcKey("P-256");
    const response = await enroll(configuration.COORDINATOR_HOST, attester, keys, now);
    return { response, keys, secrets: grantedSecrets(response.secrets) };
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

type FileOptions = Pick<Configuration<typeof variables>, "CONTRAST_KEY_MODE" | "CONTRAST_SECRET_TEMPLATES">;

/**
 * @param before the files of templates that are published
 * @returns and which of these stay as they are, and why
 * @throws SecretError where there is none of before that could stay
 */
function issuedBy(
  { response, keys, secrets }: Enrolled,
  { CONTRAST_KEY_MODE: mode, CONTRAST_SECRET_TEMPLATES: templates }: FileOptions,
  before: ReadonlyMap<string, Uint8Array> = new Map(),
): { readonly issued: Issued; readonly stale: readonly SecretError[] } {
  const made = secretFiles(secrets, { templates, mode, before: (file) => before.get(file) });
  const issued: Issued = {
    certChain: response.certChain,
    meshCa: response.meshCaCert,
    previous: response.previousMeshCaCerts,
    annex: Buffer.from(response.annex).toString("hex"),
    secrets: [...versionsOf(secrets)].map(([name, version]) => `${name}@${version}`),
    settleMs: response.settleMs,
    files: (previous) => filesOf(response, keys, mode, made.files, previous),
    forget() {
      const own = [response.workloadSecretSeed, ...response.earlierWorkloadSecrets.map(({ seed }) => seed)];
      const contents = made.files.map(({ content }) => content);
      for (const secret of [...own, ...contents]) if (typeof secret === "object") secret.fill(0);
    },
  };
  return { issued, stale: made.stale };
}

interface Keeping {
  readonly enroll: Enroll;
  readonly gate: Gate;
  /** Of the first certificate: what comes later has to be of the same Coordinator. */
  readonly pin: {
    readonly root: string;
    readonly generation: MeshGeneration | undefined;
    readonly secrets: SecretVersions;
  };
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
  const directory = configuration.CONTRAST_TLS_CONFIG_DIR;
  let { generation, secrets: versions } = pin;
  const keeper = new Keeper(
    {
      async enroll() {
        const enrolled = await enroll();
        const { response, keys: own, secrets } = enrolled;
        const given = { certChain: response.certChain, meshCa: response.meshCaCert };
        generation = requireSameDeployment(given, own.publicKey, pin.root, generation);
        const named = versionsOf(secrets);
        requireNotOlder(versions, named);
        const before = await readSecretFiles(directory, configuration.CONTRAST_SECRET_TEMPLATES.keys());
        const { issued, stale } = issuedBy(enrolled, configuration, before);
        for (const error of stale) log.warn({ code: error.code }, `the file stays as it is: ${error.describe()}`);
        versions = new Map([...versions, ...named]);
        return issued;
      },
      askInForce: () => askInForce(configuration.COORDINATOR_HOST, keys, now),
      async publish(set) {
        await gate.secure();
        await publish(directory, set);
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

/**
 * 3: refused for good. 4 and 5: time was up while the Coordinator or a vendor was unreachable, or the former not ready, or a
 * secret missing.
 */
function exitCode(error: unknown): number {
  const reason = error instanceof GaveUp ? error.cause : error;
  if (reason instanceof SecretError && reason.transient) return EXIT.notReady;
  if (reason instanceof RemoteError) return outcomeOf(reason.code)?.exit ?? EXIT.refused;
  if (reason instanceof VolumeError) return reason.isAboutDisk ? EXIT.refused : EXIT.failed;
  if (reason instanceof ConfigurationError) return EXIT.usage;
  if (reason instanceof ChannelError || reason instanceof EndorsementError) return EXIT.unreachable;
  return EXIT.failed;
}
