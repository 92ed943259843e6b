import { CodedError } from "./errors.ts";

/** One thing wrong with a configuration: where, what is there, what would be right. */
export interface Fault {
  readonly where: string;
  readonly got: string;
  readonly want: string;
}

/** Thrown by the `parse` of a variable: everything that is wrong with its text, relative to the variable. */
export class Malformed extends Error {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    super(faults.map((fault) => `${fault.where}: got ${fault.got}, want ${fault.want}`).join("\n"));
    this.name = "Malformed";
    this.faults = faults;
  }

  /** The common case: the whole text is wrong. */
  static text(got: string, want: string): Malformed {
    return new Malformed([{ where: "", got: quote(got), want }]);
  }
}

/** `configuration`: fix the named places and start again. */
export class ConfigurationError extends CodedError<"configuration"> {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    const lines = faults.map((fault) => `  ${fault.where}: got ${fault.got}, want ${fault.want}`);
    super("configuration", `${faults.length} ${faults.length === 1 ? "fault" : "faults"}\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

/** A variable of the environment: parsed once, at the edge. `unset` is its value where it is not set. */
export interface Variable<T> {
  readonly help: string;
  readonly parse: (text: string) => T;
  readonly unset: T;
}

export type Variables = Readonly<Record<string, Variable<unknown>>>;
export type Configuration<V extends Variables> = { readonly [K in keyof V]: V[K]["unset"] };
export type Environment = Readonly<Record<string, string | undefined>>;

/** What has to hold between variables. It is looked at only where each of the variables it is about is well formed. */
export interface Constraint<V extends Variables> {
  readonly about: readonly (keyof V & string)[];
  readonly faults: (configuration: Configuration<V>) => readonly Fault[];
}

/**
 * Every variable that any program knows, but for those that stand in for the CLI's options: one edit away from one of
 * these is a typing error, not a stranger.
 */
export const KNOWN = [
  "CONTRAST_TLS_CONFIG_DIR",
  "CONTRAST_TIMEOUT",
  "CONTRAST_KEY_MODE",
  "CONTRAST_LIFT_DEFAULT_DENY",
  "CONTRAST_TEE",
  "CONTRAST_SEV_GUEST_DEVICE",
  "CONTRAST_TSM_REPORT_DIR",
  "CONTRAST_SIMULATED_TEE_DIR",
  "CONTRAST_COLLATERAL_PROXY",
  "CONTRAST_INGRESS_PROXY_CONFIG",
  "CONTRAST_EGRESS_PROXY_CONFIG",
  "CONTRAST_INGRESS_MODE",
  "CONTRAST_INGRESS_BIND",
  "CONTRAST_INGRESS_TARGET",
  "CONTRAST_INGRESS_PORTS",
  "CONTRAST_INGRESS_SOCKETS",
  "CONTRAST_INGRESS_ALLOW",
  "CONTRAST_INGRESS_PROXY_PROTOCOL",
  "CONTRAST_TLS_MIN",
  "CONTRAST_DRAIN_TIMEOUT",
  "CONTRAST_WORKERS",
  "CONTRAST_ADMIN_PORT",
  "CONTRAST_ACCESS_LOG",
  "CONTRAST_MAX_INGRESS_CONNECTIONS",
  "CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE",
  "CONTRAST_MAX_EGRESS_CONNECTIONS",
  "CONTRAST_MAX_HANDSHAKES",
  "CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
  "CONTRAST_HANDSHAKE_TIMEOUT",
  "CONTRAST_LISTEN_ADDRESS",
  "CONTRAST_STATE_DIR",
  "CONTRAST_STATE_STORE",
  "CONTRAST_AUDIT_LOG",
  "CONTRAST_ALLOW_INSECURE",
  "CONTRAST_LOG_LEVEL",
  "CONTRAST_LOG_FORMAT",
] as const;

/**
 * Reads the variables of a program.
 *
 * @throws ConfigurationError with all faults at once: malformed values, values that don't go together, and names that
 *   are a typing error away from one of ours
 */
export function readEnvironment<V extends Variables>(
  variables: V,
  environment: Environment,
  constraints: readonly Constraint<V>[] = [],
): Configuration<V> {
  const faults: Fault[] = [];
  const values: Record<string, unknown> = {};
  const configuration = values as Configuration<V>;
  for (const [name, variable] of Object.entries(variables)) {
    const text = environment[name];
    try {
      values[name] = text === undefined ? variable.unset : variable.parse(text);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      for (const fault of error.faults) {
        faults.push({ ...fault, where: fault.where === "" ? name : `${name}, ${fault.where}` });
      }
    }
  }
  for (const { about, faults: check } of constraints) {
    if (about.every((name) => name in values)) faults.push(...check(configuration));
  }
  faults.push(...misspelt(environment, [...KNOWN, ...Object.keys(variables)]));
  if (faults.length > 0) throw new ConfigurationError(faults);
  return configuration;
}

function misspelt(environment: Environment, known: readonly string[]): Fault[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith("CONTRAST_") && !known.includes(name))
    .flatMap((name) => {
      const meant = known.find((candidate) => oneEditApart(name, candidate));
      return meant === undefined ? [] : [{ where: name, got: "an unknown variable", want: meant }];
    });
}

/** One letter more, less, other, or two neighbours swapped. */
export function oneEditApart(a: string, b: string): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  let start = 0;
  while (start < short.length && short[start] === long[start]) start++;
  let end = 0;
  while (end < short.length - start && short[short.length - 1 - end] === long[long.length - 1 - end]) end++;
  const left = short.slice(start, short.length - end);
  const right = long.slice(start, long.length - end);
  if (left.length <= 1 && right.length === 1) return true;
  return left.length === 2 && right.length === 2 && left[0] === right[1] && left[1] === right[0];
}

/** The text as it is shown in a message: quoted, control characters escaped, never longer than a line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
