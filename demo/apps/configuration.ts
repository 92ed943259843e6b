import { isIPv6 } from "node:net";
import { type Constraint, Malformed, type Variable } from "../../runtime/environment.ts";
import { quote } from "../../runtime/fault.ts";
import { ipAddress, parsePort } from "../../runtime/variables.ts";

/** The variables that several of the applications know, each parsed once at the start. */

export const listenAddress = ipAddress("0.0.0.0", "the address that is listened on");

export function port(unset: number, help: string): Variable<number> {
  return {
    help: `${help} (default: ${unset})`,
    unset,
    parse(text) {
      const parsed = parsePort(text);
      if (parsed === undefined) throw Malformed.text(text, "a port, 1 to 65535");
      return parsed;
    },
  };
}

/** `host:port`, the host being a name, an IPv4 address or an IPv6 address in brackets. */
export function hostPort(help: string): Variable<string> {
  return {
    help: `${help}, host:port; required`,
    unset: "",
    parse(text) {
      const [, v6, name, portText] = /^(?:\[([^\]]+)\]|([A-Za-z0-9._-]+)):(\d+)$/.exec(text) ?? [];
      const isHost = name !== undefined || (v6 !== undefined && isIPv6(v6));
      if (!isHost || parsePort(portText ?? "") === undefined) {
        throw Malformed.text(text, "host:port, like emoji-svc:8080");
      }
      return text;
    },
  };
}

export function text(help: string): Variable<string> {
  return { help, unset: "", parse: (value) => value };
}

/** Whole milliseconds, from 1 to a day. */
export function milliseconds(unset: number, help: string): Variable<number> {
  return {
    help: `${help}, in milliseconds (default: ${unset})`,
    unset,
    parse(text) {
      const value = /^[1-9]\d{0,7}$/.test(text) ? Number(text) : Infinity;
      if (value > 86_400_000) throw new Malformed([{ where: "", got: quote(text), want: "1 to 86400000" }]);
      return value;
    },
  };
}

/** Variables that have no default. */
export function required<Name extends string>(
  ...names: readonly Name[]
): Constraint<Readonly<Record<Name, Variable<string>>>>[] {
  return names.map((name) => ({
    about: [name],
    faults: (configuration) => (configuration[name] === "" ? [{ where: name, got: "nothing", want: "host:port" }] : []),
  }));
}
