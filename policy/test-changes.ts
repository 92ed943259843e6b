import { isDeepStrictEqual } from "node:util";

/** Every single change of a request: each value another one, each list longer, shorter and in another order. */
export interface Change {
  /** `OCI.Process.Env[3]` */
  readonly path: string;
  readonly how: "other" | "added" | "removed" | "reversed";
  readonly from: unknown;
  readonly to: unknown;
  /** The whole request. */
  readonly request: unknown;
}

type Path = readonly (string | number)[];

/** Of these, the names of the fields are data, and may be missing. */
const MAPS: ReadonlySet<unknown> = new Set(["Annotations", "Sysctl"]);

export function changesOf(request: unknown): Change[] {
  const changes: Change[] = [];
  visit(request, [], (path, how, from, to) => {
    if (isDeepStrictEqual(from, to)) return;
    changes.push({ path: textOf(path), how, from, to, request: changed(request, path, to) });
  });
  return changes;
}

/** A copy as far as it differs. Undefined: it is taken out. */
function changed(value: unknown, [step, ...rest]: Path, to: unknown): unknown {
  if (step === undefined) return to;
  if (Array.isArray(value)) {
    const index = step as number;
    return rest.length === 0 && to === undefined
      ? value.toSpliced(index, 1)
      : value.with(index, changed(value[index], rest, to));
  }
  const fields = value as Readonly<Record<string, unknown>>;
  return { ...fields, [step]: changed(fields[step], rest, to) };
}

type Visitor = (path: Path, how: Change["how"], from: unknown, to: unknown) => void;

function visit(value: unknown, path: Path, found: Visitor): void {
  const other = (...values: readonly unknown[]): void => values.forEach((to) => found(path, "other", value, to));
  if (typeof value === "string") other(`${value}x`, value.slice(0, -1), `x${value}`);
  else if (typeof value === "number") other(value + 1, 0);
  else if (typeof value === "boolean") other(!value);
  else if (value === null) other("x", { x: "x" });
  else if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    const added: readonly unknown[] =
      items.length === 0 ? ["x", { x: "x" }] : [items.at(-1), changedCopy(items.at(-1))];
    for (const item of added) found(path, "added", items, [...items, item]);
    found(path, "reversed", items, items.toReversed());
    for (const [index, item] of items.entries()) {
      found([...path, index], "removed", item, undefined);
      visit(item, [...path, index], found);
    }
  } else {
    found([...path, "unknown"], "added", undefined, "x");
    for (const [key, inner] of Object.entries(Object(value) as Record<string, unknown>)) {
      if (MAPS.has(path.at(-1))) found([...path, key], "removed", inner, undefined);
      visit(inner, [...path, key], found);
    }
  }
}

/** Another one of the same form: it does not collide with the first. */
function changedCopy(item: unknown): unknown {
  if (typeof item === "string") return `x${item}`;
  if (typeof item === "number") return item + 1000;
  return Object.fromEntries(
    Object.entries(Object(item) as Record<string, unknown>).map(([key, value]) => [
      key,
      typeof value === "string" ? `${value}x` : value,
    ]),
  );
}

function textOf(path: Path): string {
  return path
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`))
    .join("")
    .replace(/^\./, "");
}
