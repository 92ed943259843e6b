import { isVolumeName, isWorkloadId, WANT_ID, WANT_VOLUME_NAME } from "../../manifest/annex-names.ts";
import { quote } from "../../runtime/fault.ts";
import { CliError, type Context } from "../context.ts";
import { amend, type AmendOptions } from "../workspace/amend.ts";
import { withFormatAllowed, withoutOpenFormats } from "../workspace/next-annex.ts";
import { readerOf } from "../workspace/readers.ts";
import { podsOf, type Workload } from "../../report/workloads.ts";

/** Of `contrast volume`. */
export interface VolumeOptions extends AmendOptions {
  readonly for?: string;
}

/**
 * `contrast volume allow-format`: the volume may be formatted once more, whatever is on it.
 *
 * @returns the exit code
 */
export async function allowFormat(context: Context, path: string | undefined, options: VolumeOptions): Promise<number> {
  const { volume, of } = requireVolume(path, options.for);
  return amend(context, options, async ({ before, workloads }) => {
    const workload = typeof of === "string" ? of : workloadOf(of.named, workloads);
    if (podsOf(`workload:${workload}`, workloads).length === 0) {
      context.warn(`warning: no pod of the manifest in force has the WorkloadSecretID ${quote(workload)}`);
    }
    const annex = withFormatAllowed(before, workload, volume);
    const { allowed = 0, used = 0 } = annex.volumes.get(workload)?.get(volume) ?? {};
    return {
      annex,
      result: "format allowed, once more",
      facts: {
        volume,
        "workload secret ID": workload,
        left: allowed - used,
        "what it means": "the next pod of it that can't open the volume formats it: what is on the disk then is lost",
      },
    };
  });
}

/**
 * `contrast volume revoke-format`: takes the leaves back that nobody has used.
 *
 * @returns the exit code
 */
export async function revokeFormat(
  context: Context,
  path: string | undefined,
  options: VolumeOptions,
): Promise<number> {
  const { volume, of } = requireVolume(path, options.for);
  return amend(context, options, async ({ before, workloads }) => {
    const workload = typeof of === "string" ? of : workloadOf(of.named, workloads);
    const { allowed = 0, used = 0 } = before.volumes.get(workload)?.get(volume) ?? {};
    if (allowed === used) {
      throw new CliError("usage", "there is no leave to format this volume that nobody has used", {
        where: `${quote(workload)}, volume ${volume}`,
        got: `${allowed} allowed, ${used} used`,
      });
    }
    const facts = { volume, "workload secret ID": workload, left: 0 };
    return { annex: withoutOpenFormats(before, workload, volume), result: "leaves taken back", facts };
  });
}

/**
 * @returns the volume, and whose it is: an ID, or what --for says
 * @throws CliError usage
 */
function requireVolume(path = "", named: string | undefined): { volume: string; of: string | { named: string } } {
  const at = path.lastIndexOf("/");
  const [id, volume] = at < 0 ? [undefined, path] : [path.slice(0, at), path.slice(at + 1)];
  const refuse = (where: string, got: string, want: string): CliError =>
    new CliError("usage", "this does not name a volume of a workload", { where, got, want });
  if (!isVolumeName(volume)) throw refuse("[volume]", quote(path), WANT_VOLUME_NAME);
  if (id !== undefined && !isWorkloadId(id)) throw refuse("[volume]", quote(path), WANT_ID);
  if (id !== undefined && named !== undefined) {
    throw refuse("--for", quote(named), "either --for or a WorkloadSecretID before the name of the volume");
  }
  if (id !== undefined) return { volume, of: id };
  if (named === undefined) throw refuse("--for", "nothing", "the workload that has the volume");
  return { volume, of: { named } };
}

/** A volume is of a WorkloadSecretID, which keys it: a policy has none. @throws CliError usage */
function workloadOf(named: string, workloads: readonly Workload[]): string {
  const reader = readerOf(named, workloads);
  if (reader.startsWith("workload:")) return reader.slice("workload:".length);
  throw new CliError("usage", "a volume belongs to a WorkloadSecretID, whatever policy its pods have", {
    where: "--for",
    got: quote(named),
    want: "a workload's name or its WorkloadSecretID",
  });
}
