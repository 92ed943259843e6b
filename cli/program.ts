import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { EndorsementCache } from "../attestation/endorsements/cache.ts";
import { completeEvidence } from "../attestation/endorsements/complete.ts";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { readEnvironment } from "../runtime/environment.ts";
import { describeError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/program.ts";
import { parsePort } from "../runtime/variables.ts";
import { VERSION } from "../runtime/version.ts";
import type { Context } from "./context.ts";
import { addEvidenceCommand } from "./evidence/command.ts";
import { printableLines } from "./evidence/print.ts";
import { exitCodeOf } from "./exit-code.ts";
import { type GenerateFlags, runGenerate } from "./generate-command.ts";
import { PLATFORMS } from "./generate/platforms.ts";
import { recover, type RecoverOptions } from "./recover.ts";
import { set, type SetOptions } from "./set.ts";
import { sign, type SignOptions } from "./sign.ts";
import { verify, type VerifyOptions } from "./verify.ts";
import { FILES } from "./workspace.ts";

const USER_API_PORT = 1313;

const now = (): Date => new Date();

/** What vendors say is kept in the workspace: the next command may find no network. */
const endorsements = (workspace: string): EndorsementCache =>
  new EndorsementCache({
    network: { fetch, now, random: Math.random, sleep },
    directory: join(workspace, ".endorsements"),
    proxy: readEnvironment(endorsementVariables, process.env).CONTRAST_COLLATERAL_PROXY,
    onWarning: (message, url, error) => {
      process.stderr.write(`contrast: ${message} (${url.href}): ${describeError(error)}\n`);
    },
  });

const context = (): Context => {
  const options = program.opts<{ workspaceDir: string; output: "text" | "json"; insecure?: true; logLevel: string }>();
  const cache = endorsements(options.workspaceDir);
  const quiet = options.logLevel === "warn" || options.logLevel === "error";
  return {
    workspace: options.workspaceDir,
    format: options.output,
    insecure: options.insecure === true,
    now,
    complete: (evidence) => completeEvidence(evidence, cache),
    out: (text) => void process.stdout.write(text),
    talk: (line) => void (quiet || process.stderr.write(`${line}\n`)),
    warn: (line) => void (options.logLevel === "error" || process.stderr.write(`${line}\n`)),
  };
};

const coordinatorOption = new Option(
  "-c, --coordinator <host:port>",
  `the Coordinator's user API (port: ${USER_API_PORT})`,
)
  .argParser(parseTarget)
  .makeOptionMandatory();
const manifestOption = ["-m, --manifest <file>", "the manifest (default: manifest.json of the workspace)"] as const;

const program = new Command("contrast")
  .description("Confidential containers that prove what they are.")
  .version(`contrast ${VERSION}`, "--version", "print the version")
  .helpOption("--help", "print this help")
  .option("--workspace-dir <dir>", "where manifest, keys and certificates are", ".")
  .addOption(new Option("--output <format>", "of results").choices(["text", "json"]).default("text"))
  .addOption(new Option("--log-level <level>", "of talk").choices(["debug", "info", "warn", "error"]).default("info"))
  .option("--insecure", "accept a software TEE, which proves nothing")
  .exitOverride()
  .configureHelp({ showGlobalOptions: true });

program
  .command("generate")
  .description("add policies, the Initializer and the mesh proxy to Kubernetes files, and write the manifest")
  .argument("<path...>", "Kubernetes files, or folders of them")
  .addOption(
    new Option("--reference-values <platform>", "the platform that the pods run on")
      .choices(PLATFORMS)
      .makeOptionMandatory(),
  )
  .option(...manifestOption)
  .option("--skip-initializer", "don't add the Initializer")
  .option("--skip-service-mesh", "don't add the mesh proxy")
  .option("-w, --workload-owner-key <file>", "key that may change the manifest, PEM (repeatable)", collect, [])
  .option("--add-seedshare-owner-key <file>", "RSA key that may recover the Coordinator, PEM (repeatable)", collect, [])
  .option("--seedshare-threshold <number>", "how many of these keys it takes to recover (default: 1)", parseThreshold)
  .option("-d, --disable-updates", "let nobody change the manifest later")
  .option("--image-replacements <file>", "lines of image=replacement")
  .option("-o, --output-file <file>", "write all resources there and leave the input alone")
  .action((paths: string[], flags: GenerateFlags) => runGenerate(context(), paths, flags));

program
  .command("set")
  .description("make the manifest the active one")
  .argument("<path...>", "the files that `generate` was given")
  .addOption(coordinatorOption)
  .option(...manifestOption)
  .option("--workload-owner-key <file>", "prove to be this owner (default: workload-owner.pem of the workspace)")
  .option("--signature <file>", "what `sign` made, by that owner; the key may then be the public one")
  .option("--atomic", "only if the history is still as the last `verify` saw it")
  .option("--latest-transition <hex>", "only if this is still the latest transition; all zero: none")
  .action((paths: string[], options: SetOptions) => set(context(), paths, options));

program
  .command("sign")
  .description("allow a change of the manifest by a signature, which `set` can carry without the owner's key")
  .option(...manifestOption)
  .option("--latest-transition <hex>", "what the change follows (default: what the last `verify` saw)")
  .option("--workload-owner-key <file>", "the owner's private key (default: workload-owner.pem of the workspace)")
  .option("-o, --output-file <file>", `default: ${FILES.signature} of the workspace; with --prepare ${FILES.change}`)
  .option("--prepare", "write the bytes to be signed, for a key that is not in a file (ECDSA with SHA-256, DER)")
  .action((options: SignOptions) => sign(context(), options));

program
  .command("verify")
  .description("check the Coordinator against the manifest, and save its history and certificates below verify/")
  .addOption(coordinatorOption)
  .option(...manifestOption)
  .action((options: VerifyOptions) => verify(context(), options));

program
  .command("recover")
  .description("give a restarted Coordinator its secrets")
  .addOption(coordinatorOption)
  .option(...manifestOption)
  .option("--seedshare-owner-key <file>", "the owner's private key (default: seedshare-owner.pem of the workspace)")
  .option("--force", "also a Coordinator that has its secrets: read the stored state again")
  .action((options: RecoverOptions) => recover(context(), options));

addEvidenceCommand(program, context, (code) => {
  process.exitCode = code;
});

for (const command of program.commands.flatMap((command) => [command, ...command.commands])) {
  command.exitOverride().helpOption("--help", "print this help");
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its message, or the help that was asked for.
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  } else {
    // What is refused may be quoted in the message, and must not reach the terminal as it stands.
    process.stderr.write(`${printableLines(`contrast: ${describeError(error)}`)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function parseThreshold(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Want a whole number from 1 to the number of seed share owners' keys.");
}

function parseTarget(text: string): string {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(.*))?$/.exec(text);
  const port = match?.[2] === undefined ? USER_API_PORT : parsePort(match[2]);
  if (match?.[1] === undefined || port === undefined) {
    throw new InvalidArgumentError(`Want host:port, like coordinator.example.com:${USER_API_PORT}.`);
  }
  return `${match[1]}:${port}`;
}
