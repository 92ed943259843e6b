import { isIP } from "node:net";
import { Malformed, type Variable } from "./environment.ts";

/** The kinds of variables that several programs use. */

export function oneOf<const T extends string>(choices: readonly T[], unset: NoInfer<T>, help: string): Variable<T> {
  return {
    help,
    unset,
    parse(text) {
      const choice = choices.find((candidate) => candidate === text);
      if (choice === undefined) throw Malformed.text(text, choices.join(" or "));
      return choice;
    },
  };
}

/** A path of the file system; a name without a slash is relative to the working directory, as everywhere. */
export function path<T extends string | undefined>(unset: T, help: string): Variable<string | T> {
  return {
    help,
    unset,
    parse(text) {
      if (text === "" || text.includes("\0")) throw Malformed.text(text, "a path");
      return text;
    },
  };
}

/** An IP address, not a name: what is bound to must not depend on somebody's DNS. */
export function ipAddress<T extends string | undefined>(unset: T, help: string): Variable<string | T> {
  return {
    help,
    unset,
    parse(text) {
      if (isIP(text) === 0) throw Malformed.text(text, "an IP address");
      return text;
    },
  };
}

/** An address of loopback and a port: `127.0.0.1:8006`. */
export function loopbackAddress(unset: string, help: string): Variable<string> {
  return {
    help,
    unset,
    parse(text) {
      const [, host = "", port = ""] = /^(127(?:\.\d{1,3}){3}):(\d{1,5})$/.exec(text) ?? [];
      if (isIP(host) !== 4 || parsePort(port) === undefined) throw Malformed.text(text, "127.0.0.1:PORT");
      return text;
    },
  };
}

/** `1` for yes; anything else, or nothing, for no. */
export function onlyIfOne(help: string): Variable<boolean> {
  return { help, unset: false, parse: (text) => text === "1" };
}

/** A duration with its unit, in milliseconds: `500ms`, `30s`, `5m`, `2h`. */
export function duration<T extends number | undefined>(unset: T, help: string): Variable<number | T> {
  return {
    help,
    unset,
    parse(text) {
      const match = /^([1-9]\d{0,8})(ms|s|m|h)$/.exec(text);
      const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? ""];
      if (match === null || unit === undefined) throw Malformed.text(text, "a number with ms, s, m or h, like 30s");
      return Number(match[1]) * unit;
    },
  };
}

/**
 * A TCP port from its decimal text: no sign, no space, no leading zero.
 *
 * @returns undefined where it is not a port of 1..65535
 */
export function parsePort(text: string): number | undefined {
  if (!/^[1-9]\d{0,4}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}
