import { CodedError } from "./errors.ts";
import { type Fault, oneEditApart, quote } from "./fault.ts";

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
  "CONTRAST_SECRET_TEMPLATES",
  "CONTRAST_LIFT_DEFAULT_DENY",
  "CONTRAST_VOLUME_NAME",
  "CONTRAST_VOLUME_DEVICE",
  "CONTRAST_VOLUME_MOUNT",
  "CONTRAST_TEE",
  "CONTRAST_SEV_GUEST_DEVICE",
  "CONTRAST_TSM_REPORT_DIR",
  "CONTRAST_ATTESTATION_API",
  "CONTRAST_OPEN_ATTESTATION_API",
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
  "CONTRAST_ADMIN_PORT",
  "CONTRAST_ACCESS_LOG",
  "CONTRAST_ENGINE",
  "CONTRAST_MAX_INGRESS_CONNECTIONS",
  "CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE",
  "CONTRAST_MAX_EGRESS_CONNECTIONS",
  "CONTRAST_MAX_HANDSHAKES",
  "CONTRAST_MAX_HANDSHAKES_PER_SOURCE",
  "CONTRAST_HANDSHAKE_TIMEOUT",
  "CONTRAST_MEMORY_LIMIT",
  "CONTRAST_LISTEN_ADDRESS",
  "CONTRAST_STATE_DIR",
  "CONTRAST_STATE_STORE",
  "CONTRAST_STATE_NAME",
  "CONTRAST_PEERS",
  "CONTRAST_PEER_POLICIES",
  "CONTRAST_AUDIT_LOG",
  "CONTRAST_RUNTIME_CLASS",
  "CONTRAST_RUNTIME",
  "CONTRAST_NODE_NAME",
  "CONTRAST_NODE_ROOT",
  "CONTRAST_DAEMON_SET",
  "CONTRAST_GUEST_DIR",
  "CONTRAST_KATA_DIR",
  "CONTRAST_CONTAINERD_CONFIG",
  "CONTRAST_CONTAINERD_SOCKET",
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
  const own = withoutServiceLinks(environment);
  for (const [name, variable] of Object.entries(variables)) {
    const text = own[name];
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
  faults.push(...misspelt(own, [...KNOWN, ...Object.keys(variables)]));
  if (faults.length > 0) throw new ConfigurationError(faults);
  return configuration;
}

/**
 * What the kubelet sets for a Service, which anybody may name `contrast-admin`: `CONTRAST_ADMIN_PORT=tcp://10.96.0.7:80`
 * (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables). Such a variable counts as
 * not set.
 */
const SERVICE_LINK =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;
const SERVICE_URL = /^(?:tcp|udp|sctp):\/\//;

/** Those of a program's variables that a Service can set if nobody else does. */
export function nameableByServices(names: readonly string[]): string[] {
  return names.filter((name) => SERVICE_LINK.test(name) || name.endsWith("_PORT"));
}

export function withoutServiceLinks(environment: Environment): Environment {
  const isLink = (name: string, text = ""): boolean =>
    SERVICE_LINK.test(name) || (name.endsWith("_PORT") && SERVICE_URL.test(text));
  return Object.fromEntries(Object.entries(environment).filter(([name, text]) => !isLink(name, text)));
}

function misspelt(environment: Environment, known: readonly string[]): Fault[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith("CONTRAST_") && !known.includes(name))
    .flatMap((name) => {
      const meant = known.find((candidate) => oneEditApart(name, candidate));
      return meant === undefined ? [] : [{ where: name, got: "an unknown variable", want: meant }];
    });
}
