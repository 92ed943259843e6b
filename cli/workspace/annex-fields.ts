import type { Annex, SecretVersion } from "../../manifest/annex.ts";
import type { Fields } from "../../report/print.ts";
import { byPath } from "../../report/annex-changes.ts";
import { podsOf, type Workload } from "../../report/workloads.ts";

/** What an annex has, for results. A reader stands with the pods of the manifest in force that it is. */

export function secretFields({ secrets }: Annex, workloads: readonly Workload[]): Fields[] {
  return [...secrets].map(([secret, { latestVersion, versions }]) => ({
    secret,
    "latest version": latestVersion,
    ...(versions.length === 0 ? { removed: true } : {}),
    readable: versions.map((version) => versionFields(version, workloads)),
  }));
}

function versionFields({ version, readers }: SecretVersion, workloads: readonly Workload[]): Fields {
  return { version, readers: readers.map((reader) => ({ reader, pods: podsOf(reader, workloads) })) };
}

export function volumeFields(annex: Annex, workloads: readonly Workload[]): Fields[] {
  return [...byPath(annex)].map(([path, { allowed, used }]) => {
    const at = path.lastIndexOf("/");
    const workload = path.slice(0, at);
    return {
      volume: path.slice(at + 1),
      "workload secret ID": workload,
      pods: podsOf(`workload:${workload}`, workloads),
      "formats allowed": allowed,
      "formats used": used,
      left: allowed - used,
    };
  });
}
