import { join } from "node:path";
import { z } from "zod";
import { type Annex, parseAnnex } from "../../manifest/annex.ts";
import type { Context } from "../context.ts";
import { byPath } from "../../report/annex-changes.ts";
import { FILES, readIfPresent } from "./workspace.ts";

/**
 * What a history that lacks the pinned transition has lost, by what the last `verify` saw: for a message, so that people know
 * which value pods may have read again. Nothing is decided by it, and where a file is missing or faulty nothing is said.
 */
export async function rolledBack(context: Context, found: Annex): Promise<string[]> {
  const seen = await lastSeen(context).catch(() => undefined);
  if (seen === undefined) return [];
  const secrets = [...seen.secrets].flatMap(([name, { latestVersion: before, versions }]) => {
    const now = found.secrets.get(name);
    if (now === undefined) return [`the secret ${name} is not there, which had version ${before}`];
    if (now.latestVersion < before) return [`the secret ${name} has version ${now.latestVersion}, after ${before}`];
    const isMore = now.latestVersion === before && now.versions.length > versions.length;
    return isMore ? [`the secret ${name} has versions again that were removed`] : [];
  });
  const volumes = [...byPath(seen)].flatMap(([path, { used }]) => {
    const now = byPath(found).get(path)?.used ?? 0;
    return now >= used ? [] : [`the volume ${path} was formatted ${used} times, and ${now} by this`];
  });
  return [...secrets, ...volumes];
}

const history = z.array(z.looseObject({ file: z.string() }));

/** The annex of the last `verify`. */
async function lastSeen({ workspace }: Context): Promise<Annex | undefined> {
  const directory = join(workspace, FILES.verify);
  const bytes = await readIfPresent(join(directory, FILES.history), "the history");
  if (bytes === undefined) return undefined;
  const files = history.parse(JSON.parse(bytes.toString())).map(({ file }) => file);
  const last = files.findLast((file) => /^annex\.\d+\.json$/.test(file));
  const annex = last === undefined ? undefined : await readIfPresent(join(directory, last), "the annex");
  return annex && parseAnnex(annex);
}
