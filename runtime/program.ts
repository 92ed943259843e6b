import {
  type Configuration,
  ConfigurationError,
  type Constraint,
  type Environment,
  readEnvironment,
  type Variables,
} from "./environment.ts";
import { CodedError } from "./errors.ts";
import { EXIT } from "./exit.ts";
import { logFailure } from "./failure.ts";
import { createLogger, type Logger, logVariables } from "./log.ts";
import { VERSION } from "./version.ts";

/** A program that is told everything by its environment: the Coordinator, the Initializer, the mesh proxy. */
export interface Program<V extends Variables> {
  readonly name: string;
  readonly summary: string;
  readonly variables: V;
  readonly constraints?: readonly Constraint<V>[];
  /** Why nothing it says may be relied on, or undefined. */
  readonly insecure?: (configuration: Configuration<V>) => string | undefined;
  /**
   * @param running what it is run with; `running.stop` fires on SIGTERM and SIGINT
   * @returns the exit code
   */
  readonly run: (running: Running<V>) => Promise<number>;
  /** What it does in place of `run` when its only argument is one of these words. */
  readonly commands?: Readonly<Record<string, Command<V>>>;
}

export interface Command<V extends Variables> {
  readonly help: string;
  /** It does what `run` does, in another way: what the variables have to be together holds for it, too. */
  readonly isConstrained?: boolean;
  readonly run: (running: Running<V>) => Promise<number>;
}

export interface Running<V extends Variables> {
  readonly configuration: Configuration<V>;
  readonly log: Logger;
  readonly stop: AbortSignal;
}

/** The part of `process` that a program needs. */
export interface Host {
  readonly argv: readonly string[];
  readonly env: Environment;
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean };
  on(event: "SIGTERM" | "SIGINT" | "uncaughtException", listener: (error: unknown) => void): unknown;
  exit(code: number): never;
}

/**
 * Runs a program to its end and exits: 0 done, 1 failed, 2 wrong arguments or configuration, or what `run` returns. Where it
 * fails, by an exception that nobody caught too, its last line says why (`logFailure`).
 */
export async function runProgram<V extends Variables>(program: Program<V>, host: Host): Promise<never> {
  const [first, ...others] = host.argv.slice(2);
  if (first === "--help" && others.length === 0) {
    host.stdout.write(help(program));
    return host.exit(EXIT.done);
  }
  if (first === "--version" && others.length === 0) {
    host.stdout.write(`${program.name} ${VERSION}\n`);
    return host.exit(EXIT.done);
  }
  const isTerminal = host.stderr.isTTY === true;
  const colour = isTerminal && host.env["NO_COLOR"] === undefined;
  const terminal = { program: program.name, isTerminal, colour };
  // Until the configuration is read, and to say what is wrong with it.
  let log = createLogger({ ...terminal, level: "info", format: formatIn(host.env) }, host.stderr);
  host.on("uncaughtException", (error) => {
    logFailure(log, error);
    host.exit(EXIT.failed);
  });
  const commands = new Map(Object.entries(program.commands ?? {}));
  const command = first === undefined ? program : commands.get(first);
  if (command === undefined || others.length > 0) {
    const words = [...commands.keys(), "--help", "--version"];
    const stranger = words.includes(first ?? "") ? others[0] : first;
    const details = {
      got: JSON.stringify(stranger),
      want: `${words.join(", ")} or none`,
      hint: "correct the arguments of the container",
    };
    logFailure(log, new CodedError("arguments", "unknown argument", details));
    return host.exit(EXIT.usage);
  }
  let configuration: Configuration<V & typeof logVariables>;
  try {
    // What the variables have to be together is about what the program does, not about its other commands.
    const isConstrained = command === program || commands.get(first ?? "")?.isConstrained === true;
    const constraints = isConstrained ? program.constraints : [];
    configuration = readEnvironment({ ...program.variables, ...logVariables }, host.env, constraints);
  } catch (error) {
    logFailure(log, error);
    return host.exit(error instanceof ConfigurationError ? EXIT.usage : EXIT.failed);
  }
  log = createLogger({
    ...terminal,
    level: configuration.CONTRAST_LOG_LEVEL,
    format: configuration.CONTRAST_LOG_FORMAT,
    insecure: program.insecure?.(configuration),
  });
  // Node as PID 1 ignores these signals unless it has a handler.
  const stop = new AbortController();
  host.on("SIGTERM", () => stop.abort());
  host.on("SIGINT", () => stop.abort());
  let code: number;
  try {
    code = await command.run({ configuration, log, stop: stop.signal });
  } catch (error) {
    logFailure(log, error);
    code = EXIT.failed;
  }
  return host.exit(code);
}

function formatIn(environment: Environment): "auto" | "json" | "pretty" {
  const { CONTRAST_LOG_FORMAT: format } = environment;
  return format === "json" || format === "pretty" ? format : "auto";
}

function help<V extends Variables>(program: Program<V>): string {
  const commands = Object.entries(program.commands ?? {}).map(([name, { help }]) => [name, help] as const);
  const variables = Object.entries({ ...program.variables, ...logVariables }).map(([name, { help, unset }]) => {
    const fallback = typeof unset === "string" && unset !== "" ? ` (default: ${unset})` : "";
    return [name, help + fallback] as const;
  });
  const words = [...commands.map(([name]) => name), "--help", "--version"];
  return [
    `${program.name}: ${program.summary}`,
    `Usage: ${program.name} [${words.join(" | ")}]`,
    ...(commands.length > 0 ? [`Commands:\n${table(commands)}`] : []),
    `Environment:\n${table(variables)}\n`,
  ].join("\n\n");
}

function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, help]) => `  ${name.padEnd(width)}  ${help}`).join("\n");
}
