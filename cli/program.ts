import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CommanderError } from "commander";
import { Clock } from "../attestation/clock.ts";
import type { Network } from "../attestation/endorsements/fetch.ts";
import type { ChipVendors } from "../attestation/endorsements/vendors.ts";
import { buildTime } from "../runtime/build-time.ts";
import { describeError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { commandTree, type GlobalOptions, VERSION_ASKED } from "./commands.ts";
import { Console } from "./console.ts";
import type { Context } from "./context.ts";
import { printableLines } from "../report/print.ts";
import type { Resolution } from "../registry/resolve.ts";

/** The command line: reads it, runs one command, maps what it throws to an exit code. Heavy parts load when needed. */

const now = (): Date => new Date();
const network: Network = { fetch, now, random: Math.random, sleep };
const talk = new Console({ stdout: process.stdout, stderr: process.stderr, environment: process.env, now });

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Who reads no further (`| head`) knows enough; the work and its exit code are not for them to decide.
    if (error.code === "EPIPE") return;
    if (stream === process.stdout) talk.say(`error: standard output can't be written: ${describeError(error)}`);
    process.exitCode = EXIT.failed;
  });
}
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.once(signal, () => {
    talk.clear();
    process.exit(code);
  });
}

const program = commandTree(
  context,
  (code) => {
    process.exitCode = code;
  },
  (text) => talk.say(printableLines(text)),
);
let origins = (): string[] => [];
/** Of the command that runs. */
let collateralProxy: string | undefined;
program.hook("preAction", (_, command) => {
  collateralProxy = command.opts<{ readonly collateralProxy?: string }>().collateralProxy;
});
program.hook("preSubcommand", async (_, command) => {
  if (program.args.includes("--help") || ["help", "completion"].includes(command.name())) return;
  const { applySettings } = await import("./settings.ts");
  origins = await applySettings(program, command, process.env);
});

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its message, or the help that was asked for.
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (error.code === "commander.missingMandatoryOptionValue") {
      talk.say("it may also stand in the environment or in contrast.toml: see contrast --help");
    }
  } else {
    const { exitCodeOf } = await import("./exit-code.ts");
    // What is refused may be quoted in the message, and must not reach the terminal as it stands.
    talk.say(printableLines(`error: ${describeError(error)}`));
    process.exitCode = exitCodeOf(error);
  }
  const elsewhere = origins();
  if (process.exitCode !== EXIT.done && elsewhere.length > 0) talk.say(`  with ${elsewhere.join(", ")}`);
}

async function run(args: readonly string[]): Promise<void> {
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError) || error.code !== VERSION_ASKED) throw error;
    const { printVersion } = await import("./print-version.ts");
    program.parseOptions(args.filter((word) => word !== "--version"));
    printVersion(talk.out, program.opts<GlobalOptions>().output);
  }
}

function context(): Context {
  const options = program.opts<GlobalOptions>();
  const isQuiet = options.logLevel === "warn" || options.logLevel === "error";
  const workspace = options.workspaceDir;
  const warn = (line: string): void => void (options.logLevel === "error" || talk.say(line));
  const progress: Context["progress"] = (label) => talk.progress(label, options);
  return {
    workspace,
    format: options.output,
    insecure: options.insecure === true,
    now,
    clock: new Clock({ now, built: buildTime }),
    network,
    random: randomBytes,
    vendors: vendors({ workspace, warn, progress }),
    resolveImages: (references, offline) => resolveImages(references, offline, { warn, progress }),
    input: () => process.stdin,
    out: talk.out,
    talk: (line) => void (isQuiet || talk.say(line)),
    warn,
    progress,
  };
}

/** What vendors say is kept in the workspace: the next command may find no network. */
function vendors({ workspace, warn, progress }: Pick<Context, "workspace" | "warn" | "progress">): ChipVendors {
  let opened: Promise<ChipVendors> | undefined;
  const open = async (): Promise<ChipVendors> => {
    const [{ vendorsThrough }, { EndorsementCache }, { endorsementVariables }, { readEnvironment }] = await Promise.all(
      [
        import("../attestation/endorsements/vendors.ts"),
        import("../attestation/endorsements/cache.ts"),
        import("../attestation/endorsements/proxy.ts"),
        import("../runtime/environment.ts"),
      ],
    );
    const cache = new EndorsementCache({
      network,
      directory: join(workspace, ".endorsements"),
      // Commands without the option read the variable.
      proxy:
        collateralProxy === undefined
          ? readEnvironment(endorsementVariables, process.env).CONTRAST_COLLATERAL_PROXY
          : endorsementVariables.CONTRAST_COLLATERAL_PROXY.parse(collateralProxy),
      onWarning: (message, url, error) => warn(`warning: ${message} (${url.href}): ${describeError(error)}`),
    });
    return vendorsThrough(cache);
  };
  const ask = async <T>(question: (asked: ChipVendors) => Promise<T>): Promise<T> => {
    const asking = progress("asking the vendor of the CPU for certificates and revocation lists");
    try {
      return await question(await (opened ??= open()));
    } finally {
      asking.end();
    }
  };
  return {
    withVcek: (evidence, use) => ask((asked) => asked.withVcek(evidence, use)),
    issuers: (kind, product) => ask((asked) => asked.issuers(kind, product)),
    snpCrl: (kind, product) => ask((asked) => asked.snpCrl(kind, product)),
    tdxCollateral: (platform, use) => ask((asked) => asked.tdxCollateral(platform, use)),
  };
}

/** With the credentials of docker and podman; what registries say is kept in the user's cache. */
async function resolveImages(
  references: readonly string[],
  offline: boolean,
  { warn, progress }: Pick<Context, "warn" | "progress">,
): Promise<Resolution> {
  const [images, { defaultCacheDirectory }, { localCredentials }] = await Promise.all([
    import("../registry/resolve.ts"),
    import("../registry/cache.ts"),
    import("../registry/local-credentials.ts"),
  ]);
  const asking = progress("asking registries about images");
  try {
    return await images.resolveImages(references, {
      cacheDirectory: defaultCacheDirectory(process.env, homedir()),
      offline,
      network: { now, random: Math.random, sleep, environment: process.env },
      credentials: localCredentials(process.env, homedir()),
      onProgress: asking.update,
      onWarning: (message) => warn(`warning: ${message}`),
    });
  } finally {
    asking.end();
  }
}
