import { parseManifest } from "../../manifest/manifest.ts";
import type { Context } from "../context.ts";
import { INSECURE } from "../../report/insecure.ts";
import { render } from "../../report/print.ts";
import { manifestInForce } from "../workspace/active-history.ts";
import { volumeFields } from "../workspace/annex-fields.ts";
import { annexOf } from "../../manifest/generations.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { inSession, refuseOptions } from "../workspace/owner-session.ts";
import { workloadsIn } from "../../report/workloads.ts";
import type { VolumeOptions } from "./allow-format.ts";

/** `contrast volume list`: how often owners allowed to format which volume, and how often that was done. */
export async function listVolumes(context: Context, name: string | undefined, options: VolumeOptions): Promise<void> {
  refuseOptions({ "[volume]": name, "--for": options.for, "--prepare": options.prepare }, "volume list");
  const atHand = await readManifest(context, options.manifest);
  await inSession(context, options.coordinator, atHand, undefined, async ({ active, insecure }) => {
    const workloads = workloadsIn(parseManifest(manifestInForce(active)), active.policies);
    const volumes = volumeFields(annexOf(active.steps.at(-1)), workloads);
    const result = {
      result:
        volumes.length === 0
          ? "no volume was ever allowed to be formatted"
          : `${volumes.length} ${volumes.length === 1 ? "volume" : "volumes"}`,
      coordinator: options.coordinator,
      "latest transition": active.latest,
      volumes,
      ...(insecure ? { insecure: INSECURE } : {}),
    };
    context.out(render(result, context.format));
  });
}
