import { CodedError } from "../runtime/errors.ts";

export type ImageCode =
  /** A program that this needs is not installed. */
  | "tool_missing"
  /** There is no Node for this architecture, or nothing here that could handle its programs. */
  | "unknown_architecture"
  /** A package could not be fetched, or is not the one that is pinned. */
  | "download_failed"
  /** The native engine is for another machine, or needs a newer glibc than the base has. */
  | "engine_unfit"
  /** The disk is full. */
  | "disk_full"
  /** A tool failed. */
  | "build_failed";

export class ImageError extends CodedError<ImageCode> {}
