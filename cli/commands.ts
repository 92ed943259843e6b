import { Command, CommanderError, Option } from "commander";
import { EXIT } from "../runtime/exit.ts";
import type { Context } from "./context.ts";
import { addBackupCommand } from "./backup/command.ts";
import { addCollateralProxyCommand } from "./collateral-proxy/command.ts";
import { addCompletionCommand } from "./completion/command.ts";
import { addEvidenceCommand } from "./evidence/command.ts";
import { addGenerateCommand } from "./generate/command.ts";
import { addHelpCommand } from "./help.ts";
import { addManifestCommand } from "./manifest/command.ts";
import { addMeasureCommand } from "./measure/command.ts";
import { addPendingCommand } from "./pending/command.ts";
import { addRecoverCommand } from "./recover/command.ts";
import { addRekeyCommand } from "./rekey/command.ts";
import { addRestoreCommand } from "./restore/command.ts";
import { addSecretCommand } from "./secret/command.ts";
import { addSetCommand } from "./set/command.ts";
import { addSignCommand } from "./sign/command.ts";
import { addStatusCommand } from "./status/command.ts";
import { addVerifyCommand } from "./verify/command.ts";
import { addVolumeCommand } from "./volume/command.ts";

/**
 * All commands and their options. Nothing here does anything: what a command does is loaded when it is run, so that
 * `--help` and the shell don't wait for it.
 */

/** The options that stand before any command. */
export interface GlobalOptions {
  readonly workspaceDir: string;
  readonly output: "text" | "json";
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly insecure?: boolean;
}

const AFTER = `
Sources of options, in order of precedence:
  the flag                   --coordinator host:1313
  the environment            CONTRAST_COORDINATOR=host:1313; 1 or 0 if an option
                             has no value. Not for the options of \`evidence\`,
                             \`measure\`, \`manifest\`, \`backup\`, \`restore\`,
                             nor for what \`secret\` and \`volume\` change
  contrast.toml              in the workspace: coordinator = "host:1313";
                             options below [set] are for that command only

Other variables of the environment:
  CONTRAST_COLLATERAL_PROXY  base URL that replaces AMD KDS and Intel PCS
  HTTPS_PROXY, NO_PROXY      the proxy for registries
  REGISTRY_AUTH_FILE,        where the credentials for registries are, if not in
    DOCKER_CONFIG            the default places of podman and docker
  XDG_CACHE_HOME             the folder below which answers of registries are
                             cached
  NO_COLOR                   no colours on a terminal

Exit codes:
  0  done
  1  failed
  2  wrong usage, or a faulty file; nothing was done
  3  attestation or verification was refused
  4  the Coordinator or a vendor can't be reached
  5  the Coordinator has no manifest, or needs recovery
  6  the change waits for other owners' signatures; it is not in force

Examples:
  contrast generate --reference-values metal-qemu-snp deployment/
  contrast set -c coordinator.example.com:1313 deployment/
  contrast verify -c coordinator.example.com:1313
  contrast help set`;

/** The code of the error that parsing ends with where `--version` stands. What is to be said is not known here. */
export const VERSION_ASKED = "contrast.version";

/**
 * @param exit is told the exit code of a verdict
 * @param say is told what is wrong with the words of the command line
 */
export function commandTree(
  context: () => Context,
  exit: (code: number) => void,
  say: (text: string) => void,
): Command {
  const program = new Command("contrast")
    .description("Confidential containers that prove what they are.")
    .option("--workspace-dir <dir>", "folder of manifest, keys and certificates", ".")
    .addOption(new Option("--output <format>", "format of results").choices(["text", "json"]).default("text"))
    .addOption(
      new Option("--log-level <level>", "lowest level of messages to show")
        .choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .option("--insecure", "accept a software TEE, which proves nothing")
    .option("--version", "print the version, its images and its runtime classes")
    .on("option:version", () => {
      throw new CommanderError(EXIT.done, VERSION_ASKED, "");
    })
    .helpCommand(false)
    .configureOutput({ outputError: (text) => say(text.trimEnd()) })
    .addHelpText("after", AFTER)
    .configureHelp({ showGlobalOptions: true });
  addGenerateCommand(program, context);
  addSetCommand(program, context, exit);
  addRekeyCommand(program, context);
  addSignCommand(program, context);
  addPendingCommand(program, context, exit);
  addSecretCommand(program, context, exit);
  addVolumeCommand(program, context, exit);
  addVerifyCommand(program, context);
  addStatusCommand(program, context, exit);
  addRecoverCommand(program, context);
  addBackupCommand(program, context);
  addRestoreCommand(program, context);
  addEvidenceCommand(program, context, exit);
  addMeasureCommand(program, context);
  addManifestCommand(program, context);
  addCollateralProxyCommand(program, context);
  addCompletionCommand(program, context);
  addHelpCommand(program);
  for (const command of [program, ...program.commands.flatMap((command) => [command, ...command.commands])]) {
    command.exitOverride().helpOption("--help", "print this help");
    command.showHelpAfterError(`see ${wordsOf(command).join(" ")} --help`);
  }
  return program;
}

function wordsOf(command: Command): string[] {
  return [...(command.parent === null ? [] : wordsOf(command.parent)), command.name()];
}
