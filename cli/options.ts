import { InvalidArgumentError, Option } from "commander";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { Malformed } from "../runtime/environment.ts";
import { FlagAlone, isList, placeholderOf } from "./option-value.ts";
import { parsePort } from "../runtime/variables.ts";
import { parseApiUrl } from "./address.ts";

/** The options that several commands have, and the parsers of their values. */

const USER_API_PORT = 1313;

export const coordinatorOption = (): Option =>
  new Option("-c, --coordinator <host:port>", `the Coordinator's user API (port: ${USER_API_PORT})`)
    .argParser(parseTarget)
    .makeOptionMandatory();

/** For a command that also works over the HTTP API. */
export const coordinatorOrUrlOption = (): Option => optionalCoordinatorOption().makeOptionMandatory();

/** For one that may do without. */
export const optionalCoordinatorOption = (): Option =>
  new Option(
    "-c, --coordinator <host:port|url>",
    `the Coordinator's user API (port: ${USER_API_PORT}), or the https:// address of its HTTP API`,
  ).argParser(parseTarget);

export const manifestOption = (): Option =>
  new Option("-m, --manifest <file>", "the manifest (default: manifest.json of the workspace)");

/** CONTRAST_COLLATERAL_PROXY stands in for it. */
export const collateralProxyOption = (): Option =>
  new Option("--collateral-proxy <url>", "base URL that replaces AMD KDS and Intel PCS").argParser(parseBaseUrl);

/** @returns the text @throws InvalidArgumentError where nothing can be put behind it */
export function parseBaseUrl(text: string): string {
  try {
    endorsementVariables.CONTRAST_COLLATERAL_PROXY.parse(text);
    return text;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new InvalidArgumentError(`Want ${error.faults[0]?.want}.`);
  }
}

/** An IP address and a port to listen on: what is bound to must not depend on somebody's DNS. */
export function parseListen(text: string): string {
  const [, port = ""] = /^(?:\[[0-9a-fA-F:.]+\]|[0-9.]+):(\d+)$/.exec(text) ?? [];
  if (parsePort(port) !== undefined) return text;
  throw new InvalidArgumentError("Want an address and a port, like 0.0.0.0:8080 or [::]:8080.");
}

/** For an option that may stand several times. A list that no flag has begun is frozen, and replaced. */
export function collect(value: string, before?: readonly string[]): readonly string[] {
  return append(value, before);
}

/** The same for parsed values. */
export function append<T>(value: T, before: readonly T[] = []): readonly T[] {
  return Object.isFrozen(before) ? [value] : [...before, value];
}

/**
 * Another name of an option, for users of Edgeless' Contrast. It is a flag alone: environment and contrast.toml have one
 * name for each option.
 */
export class Alias extends FlagAlone {
  readonly #of: Option;

  /** @param name with its dashes */
  constructor(name: string, of: Option) {
    super(`${name} <${placeholderOf(of) ?? ""}>`, `as ${of.long ?? ""}${isList(of) ? " (repeatable)" : ""}`);
    this.#of = of;
    if (of.parseArg !== undefined) this.argParser(of.parseArg);
  }

  /** Where commander keeps the value, and what the value before is. */
  override attributeName(): string {
    return this.#of.attributeName();
  }
}

/** The end of a command's help. A test runs what stands there through the parser. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** One value may be meant for all commands: which of them take a URL is up to them. */
function parseTarget(text: string): string {
  const url = parseApiUrl(text);
  if (url !== undefined) return url;
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(.*))?$/.exec(text);
  const port = match?.[2] === undefined ? USER_API_PORT : parsePort(match[2]);
  if (match?.[1] === undefined || port === undefined) {
    throw new InvalidArgumentError(
      `Want host:port, like coordinator.example.com:${USER_API_PORT}, or https://host without a query.`,
    );
  }
  return `${match[1]}:${port}`;
}
