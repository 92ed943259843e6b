import { CodedError } from "../../runtime/errors.ts";

/**
 * What keeps an encrypted volume from being mounted.
 *
 * - `volume_not_formatted`: the disk is empty and no owner allows to format it: `contrast volume allow-format`
 * - `volume_unreadable`: something is on the disk, and it is no volume under this key; nothing was written. Attach the right
 *   disk, or allow to format this one
 * - `volume_unsuitable`: no block device, or one of a size that can't be used
 * - `volume_secret_missing`: the workload has no secret: give it a WorkloadSecretID
 * - `volume_tool_failed`: cryptsetup, dmsetup or mkfs.ext4 failed, or the kernel refused: its own words follow
 * - `volume_place_used`: another container wrote to the place of the volume before it was mounted: delete the pod
 * - `volume_busy`: the volume is in use, so it can't be closed: stop what has files open on it
 */
export type VolumeCode =
  | "volume_not_formatted"
  | "volume_unreadable"
  | "volume_unsuitable"
  | "volume_secret_missing"
  | "volume_tool_failed"
  | "volume_place_used"
  | "volume_busy";

export class VolumeError extends CodedError<VolumeCode> {
  /** It is about what the disk holds: another disk, or an owner, may change that. */
  get isAboutDisk(): boolean {
    return this.code === "volume_not_formatted" || this.code === "volume_unreadable";
  }
}
