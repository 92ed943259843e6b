import { readdir } from "node:fs/promises";
import { VolumeError } from "./error.ts";
import { mount, SystemCallError } from "./kernel.ts";
import { readMount } from "./mounts.ts";

/** <linux/mount.h> */
const MS_RDONLY = 1;
const MS_REMOUNT = 32;

/**
 * Makes the tmpfs at which a volume is to be mounted read-only, for every container of the pod and for good. Who sees it and not
 * the volume is refused to write, and does not take memory for a disk: an application that somebody starts too early, or after
 * the volume was unmounted, or in a guest in which mounts don't reach other containers, which can't be seen from here.
 *
 * Nothing is done where there is another file system, such as the volume of an earlier container.
 *
 * @throws VolumeError volume_place_used
 */
export async function closeMountPlace(target: string): Promise<void> {
  const place = await readMount(target);
  if (place?.type !== "tmpfs") return;
  try {
    // Not MS_BIND: that would close it for this container alone.
    await mount(place.source, target, "tmpfs", "", MS_REMOUNT | MS_RDONLY);
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.code !== "EBUSY") throw error;
    throw used(target, "files that are open for writing");
  }
  // Now that nobody adds to it.
  const names = await readdir(target);
  if (names.length > 0) throw used(target, `${names.length} ${names.length === 1 ? "file" : "files"}`);
}

function used(target: string, got: string): VolumeError {
  return new VolumeError("volume_place_used", "somebody wrote where the volume is to be mounted, before it was", {
    where: target,
    got,
    want: "an empty directory",
    hint: "whoever starts the pod's containers started one too early, and its data is in memory: delete the pod",
  });
}
