import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  visit,
  type YAMLMap,
} from "yaml";
import { quote } from "../../runtime/fault.ts";
import { DEEPEST } from "./kubernetes-yaml.ts";
import { YamlFault } from "./yaml-fault.ts";

/**
 * What a document says, as plain data. Aliases become copies: what is changed at one place must not change at another.
 */

export type YamlPair = Pair<Node, Node | null>;

/** How many nodes may come from aliases: ten lines can stand for more than any memory holds. */
export const MOST_COPIES = 1_000_000;

/** The nodes that a document's aliases stand for: the last one of the name before each of them. */
export function resolveAliases(document: Document.Parsed): ReadonlyMap<Alias, Node> {
  const anchors = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node: (_, node) => {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchors.set(node.anchor, node);
        return;
      }
      const target = anchors.get(node.source);
      if (target === undefined) {
        throw new YamlFault(
          startOf(node),
          `the alias of an anchor that is not there: *${node.source}`,
          "an anchor before it",
        );
      }
      targets.set(node, target);
    },
  });
  return targets;
}

export class ValueReader {
  readonly #aliases: ReadonlyMap<Alias, Node>;
  readonly #known: ReadonlyMap<Node, unknown>;
  readonly #copies: { left: number };
  readonly #again: (fault: YamlFault) => void;
  #depth = 0;
  /** The one that is in the text, of aliases in what aliases stand for. */
  #outermost: Alias | undefined;

  /**
   * @param known values of nodes with an anchor, in place of what the nodes say
   * @param copies what is left of MOST_COPIES
   * @param again hears of keys that stand twice in a map: the last one counts, as for kubectl
   */
  constructor(
    aliases: ReadonlyMap<Alias, Node>,
    known: ReadonlyMap<Node, unknown> = new Map(),
    copies = { left: MOST_COPIES },
    again: (fault: YamlFault) => void = () => undefined,
  ) {
    this.#aliases = aliases;
    this.#known = known;
    this.#copies = copies;
    this.#again = again;
  }

  /** @throws YamlFault */
  value(node: Node | null): unknown {
    if (node === null) return null;
    if (this.#outermost !== undefined && --this.#copies.left < 0) {
      throw this.#fault(node, "aliases that stand for too much", `at most ${MOST_COPIES} copies of nodes`);
    }
    if (isScalar(node)) return node.value;
    if (++this.#depth > DEEPEST) throw this.#fault(node, "what nests too deep", `at most ${DEEPEST} levels`);
    const value = isAlias(node) ? this.#alias(node) : isMap(node) ? this.#map(node) : this.#items(node);
    this.#depth--;
    return value;
  }

  /** The maps that a `<<` brings, the one that matters most last. */
  merged(pair: YamlPair): Readonly<Record<string, unknown>>[] {
    const value = this.value(pair.value);
    const maps = Array.isArray(value) ? value.toReversed() : [value];
    for (const map of maps) {
      if (typeof map === "object" && map !== null && !Array.isArray(map)) continue;
      throw new YamlFault(startOf(pair.key), "a merge of what is no map", "the alias of a map, or a list of them");
    }
    return maps;
  }

  #alias(alias: Alias): unknown {
    const target = this.#aliases.get(alias);
    if (target === undefined) throw new Error(`alias ${alias.source} of another document`);
    if (this.#known.has(target)) return this.#known.get(target);
    const outer = this.#outermost;
    this.#outermost ??= alias;
    const value = this.value(target);
    this.#outermost = outer;
    return value;
  }

  #items(node: Node): unknown[] {
    return isSeq(node) ? (node.items as Node[]).map((item) => this.value(item)) : [];
  }

  #map(map: YAMLMap): Record<string, unknown> {
    const pairs = map.items as YamlPair[];
    const own = new Set<string>();
    const entries = new Map<string, unknown>();
    for (const pair of pairs) {
      if (isMerge(pair)) {
        // Where both have a key, the later of them wins: not the standard's rule, but kubectl's.
        for (const source of this.merged(pair))
          for (const [key, value] of Object.entries(source)) entries.set(key, value);
        continue;
      }
      const key = keyOf(pair);
      if (own.has(key)) this.#again(new YamlFault(startOf(pair.key), `the key ${quote(key)} again`, "every key once"));
      own.add(key);
      entries.set(key, this.value(pair.value));
    }
    // Unlike assignment this makes `__proto__` a key like any other.
    return Object.fromEntries(entries);
  }

  #fault(node: Node, got: string, want: string): YamlFault {
    return new YamlFault(startOf(this.#outermost ?? node), got, want);
  }
}

/** @throws YamlFault */
export function keyOf({ key }: YamlPair): string {
  if (isScalar(key)) return String(key.value);
  throw new YamlFault(startOf(key), "a key that is no word", "a word");
}

export function isMerge({ key }: YamlPair): boolean {
  return isScalar(key) && key.type === "PLAIN" && key.value === "<<";
}

export function startOf(node: Node | null | undefined): number {
  return node?.range?.[0] ?? 0;
}
