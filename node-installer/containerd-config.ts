import { isDeepStrictEqual } from "node:util";
import { parse } from "smol-toml";
import { NodeError } from "./error.ts";

/**
 * The configuration of containerd, edited as text: comments, order and what others wrote stay as they are. What is added
 * stands at the end, between two comments, and is found again by them.
 */

/** Versions of the format (containerd, docs/man/containerd-config.toml.5.md): 2 of containerd 1.x, 3 of 2.x. */
export type ConfigVersion = 2 | 3;

/** The table of a handler, without the version that a file begins with. @param plugin the CRI plugin's name */
export type HandlerTables = (plugin: string) => string;

/** The plugin that knows the handlers, by the version of the configuration. */
const CRI_PLUGIN: Readonly<Record<ConfigVersion, string>> = {
  2: "io.containerd.grpc.v1.cri",
  3: "io.containerd.cri.v1.runtime",
};

/** What containerd takes for its configuration where there is none. */
export const EMPTY_CONFIG = "version = 2\n";

/** @param path for the error @throws NodeError containerd_config */
export function versionOf(text: string, path: string): ConfigVersion {
  const { version } = parsed(text, path);
  // containerd reads version 4 and later as it reads 3, as far as handlers go.
  if (typeof version === "number" && version >= 3) return 3;
  if (version === 2) return 2;
  throw new NodeError("containerd_config", "the configuration of containerd has a version that is not known", {
    where: path,
    got: version === undefined ? "no version, which means 1" : `version = ${JSON.stringify(version)}`,
    want: "version = 2 or 3; `containerd config migrate` converts it",
  });
}

/**
 * Adds a handler, or puts it in the place of what an earlier run added.
 *
 * @throws NodeError containerd_config where the text is no TOML, somebody else has the handler, or the table can't stand
 *   at the end
 */
export function withHandler(text: string, handler: string, tables: HandlerTables, path: string): string {
  const others = withoutHandler(text, handler);
  const before = parsed(others, path);
  const plugin = CRI_PLUGIN[versionOf(others, path)];
  if (handlersOf(before, plugin)?.[handler] !== undefined) {
    throw new NodeError("containerd_config", "the handler is configured already, by somebody else", {
      where: path,
      got: handler,
      want: "a configuration without it",
    });
  }
  const newline = others === "" || others.endsWith("\n") ? "" : "\n";
  const after = `${others}${newline}${marks(handler).begin}\n${tables(plugin).trim()}\n${marks(handler).end}\n`;
  const value = parsed(after, path);
  const added = handlersOf(value, plugin);
  const isThere = added?.[handler] !== undefined;
  if (added !== undefined) delete added[handler];
  if (!isThere || !isDeepStrictEqual(pruned(value), pruned(before))) {
    throw new NodeError("containerd_config", "a handler can't be added to this configuration", {
      where: path,
      got: "tables in braces, or keys with dots, where the handlers are",
      want: `tables in brackets: [plugins."${plugin}".containerd.runtimes.NAME]`,
    });
  }
  return after;
}

/** Takes away what `withHandler` added; the rest is what it was before, byte for byte, but for a last line's end. */
export function withoutHandler(text: string, handler: string): string {
  const { begin, end } = marks(handler);
  const from = text.indexOf(`${begin}\n`);
  if (from < 0) return text;
  const to = text.indexOf(`${end}\n`, from);
  // A file is replaced as a whole, so both are there, unless somebody edited it.
  return to < 0 ? text.slice(0, from) : text.slice(0, from) + text.slice(to + end.length + 1);
}

/** A file of its own, where the configuration imports a folder of such files. */
export function dropIn(version: ConfigVersion, tables: HandlerTables): string {
  return `# Written by Contrast's node installer, and removed with its DaemonSet.\nversion = ${version}\n${tables(CRI_PLUGIN[version]).trim()}\n`;
}

function marks(handler: string): { readonly begin: string; readonly end: string } {
  return {
    begin: `# BEGIN ${handler}: written by Contrast's node installer, and removed with its DaemonSet`,
    end: `# END ${handler}`,
  };
}

type Table = Record<string, unknown>;

function parsed(text: string, path: string): Table {
  try {
    return parse(text);
  } catch (error) {
    throw new NodeError("containerd_config", "the configuration of containerd is not TOML", {
      where: path,
      got: (error as Error).message.split("\n")[0] ?? "",
      want: "TOML that containerd reads",
      cause: error,
    });
  }
}

function handlersOf(value: Table, plugin: string): Table | undefined {
  let table: unknown = value;
  for (const key of ["plugins", plugin, "containerd", "runtimes"]) table = Object(table)[key] as unknown;
  return typeof table === "object" && table !== null ? (table as Table) : undefined;
}

/** Without tables in which nothing is: a header alone says nothing. */
function pruned(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Date) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, pruned(inner)] as const);
  const kept = entries.filter(([, inner]) => inner !== undefined);
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
}
