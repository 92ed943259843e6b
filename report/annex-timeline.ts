import type { Annex, AnnexSecret } from "../manifest/annex.ts";
import { byPath } from "./annex-changes.ts";
import type { AmendmentRecord } from "./annex-facts.ts";
import type { TimelineEntry } from "./timeline-entry.ts";

/** What amendments made weaker, or what they let happen to data. */
export function annexTimeline(records: readonly AmendmentRecord[]): TimelineEntry[] {
  return records.flatMap(({ generation, before, after }) => [
    ...newReaders(before, after).map((text): TimelineEntry => ({
      generation,
      level: "note",
      code: "secret_readers",
      text,
    })),
    ...formatsAllowed(before, after).map((text): TimelineEntry => {
      return { generation, level: "warning", code: "format_allowed", text };
    }),
    ...formatted(before, after).map((text): TimelineEntry => ({ generation, level: "note", code: "formatted", text })),
  ]);
}

/** Of a secret that was there: who reads its next version and could not read it before. */
function newReaders(before: Annex, after: Annex): string[] {
  return [...after.secrets].flatMap(([name, secret]) => {
    const old = readersOf(before.secrets.get(name));
    const come = readersOf(secret).filter((reader) => !old.includes(reader));
    return old.length === 0 || come.length === 0
      ? []
      : [`the secret ${name} is for other readers, too: ${come.join(", ")}`];
  });
}

function readersOf(secret: AnnexSecret | undefined): readonly string[] {
  return secret?.versions[0]?.readers ?? [];
}

function formatsAllowed(before: Annex, after: Annex): string[] {
  const old = byPath(before);
  return [...byPath(after)].flatMap(([path, { allowed }]) => {
    const more = allowed - (old.get(path)?.allowed ?? 0);
    if (more <= 0) return [];
    return [`the volume ${path} may be formatted ${more === 1 ? "once" : `${more} times`} more, whatever is on it`];
  });
}

function formatted(before: Annex, after: Annex): string[] {
  const old = byPath(before);
  return [...byPath(after)].flatMap(([path, { allowed, used }]) => {
    return used === (old.get(path)?.used ?? 0)
      ? []
      : [`the volume ${path} was formatted, by leave ${used} of ${allowed}`];
  });
}
