import type { Annex } from "../../manifest/annex.ts";
import { quote } from "../../runtime/fault.ts";
import { CliError } from "../context.ts";

/** @throws CliError usage where there is no such secret, or it was removed */
export function requireKnown({ secrets }: Annex, name: string): void {
  if ((secrets.get(name)?.versions.length ?? 0) > 0) return;
  const known = [...secrets].filter(([, { versions }]) => versions.length > 0).map(([other]) => other);
  throw new CliError("usage", "there is no such secret", {
    where: "[name]",
    got: secrets.has(name) ? `${quote(name)}, which was removed` : quote(name),
    want: known.length === 0 ? "nothing: there are no secrets" : `one of ${known.toSorted().join(", ")}`,
  });
}
