import { CodedError } from "../../runtime/errors.ts";

export type GuestImageCode =
  /** The file ends before what its own tables say. */
  | "image_cut"
  /** No partition table, e.g. an initrd. */
  | "image_unknown"
  /** Not one partition for the root file system and one for its hash tree. */
  | "partitions_unknown"
  /** Neither ext4 nor erofs, or a form of them that can't be edited here. */
  | "filesystem_unknown"
  /** What the file system says about itself is not so. */
  | "filesystem_damaged"
  /** There is no room in the file system for what is added. */
  | "filesystem_full"
  /** The root hash that was given is not that of the image. */
  | "verity_mismatch"
  /** No kata-agent, or one that systemd does not start. */
  | "agent_missing"
  /** The agent, or something else than systemd, is the first process. */
  | "init_unknown"
  /** The image names no version of Kata, or one that this was not made for. */
  | "kata_version_unknown"
  /** Something is there that would start or replace what is added. */
  | "guest_unknown"
  /** The image has been hardened already. */
  | "already_hardened"
  /** The folder for the results is there. */
  | "output_exists"
  /** A parameter is malformed. */
  | "bad_option";

/** Why no image was made. Nothing has been written then. */
export class GuestImageError extends CodedError<GuestImageCode> {}
