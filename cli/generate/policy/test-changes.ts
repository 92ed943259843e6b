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
  visit(request, [], (path, how, change) => {
    const copy = structuredClone({ request }) as Record<string, unknown>;
    const holder = ["request", ...path]
      .slice(0, -1)
      .reduce<unknown>((inner, step) => Object(inner)[step] as unknown, copy);
    const key = path.at(-1) ?? "request";
    const [container, before] = [holder as Record<string | number, unknown>, Object(holder)[key] as unknown];
    const to = change(before);
    if (to === undefined) {
      if (Array.isArray(container)) container.splice(key as number, 1);
      else delete container[key];
    } else container[key] = to;
    if (isDeepStrictEqual(copy["request"], request)) return;
    changes.push({ path: textOf(path), how, from: before, to, request: copy["request"] });
  });
  return changes;
}

type Visitor = (path: Path, how: Change["how"], change: (value: unknown) => unknown) => void;

function visit(value: unknown, path: Path, found: Visitor): void {
  const other = (...values: readonly unknown[]): void => values.forEach((to) => found(path, "other", () => to));
  if (typeof value === "string") other(`${value}x`, value.slice(0, -1));
  else if (typeof value === "number") other(value + 1, 0);
  else if (typeof value === "boolean") other(!value);
  else if (value === null) other("x", { x: "x" });
  else if (Array.isArray(value)) {
    const added: readonly unknown[] =
      value.length === 0 ? ["x", { x: "x" }] : [value.at(-1), changedCopy(value.at(-1))];
    for (const item of added) found(path, "added", (list) => [...(list as unknown[]), item]);
    found(path, "reversed", (list) => (list as unknown[]).toReversed());
    for (const [index, item] of value.entries()) {
      found([...path, index], "removed", () => undefined);
      visit(item, [...path, index], found);
    }
  } else {
    found([...path, "unknown"], "added", () => "x");
    for (const [key, inner] of Object.entries(Object(value) as Record<string, unknown>)) {
      if (MAPS.has(path.at(-1))) found([...path, key], "removed", () => undefined);
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
