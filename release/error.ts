import { CodedError } from "../runtime/errors.ts";

export type ReleaseCode =
  /** The checkout is not what can be released: fix what is named. */
  | "not_ready"
  /** The images are not those of this version, or damaged: build them again. */
  | "unusable_images"
  /** SOURCE_DATE_EPOCH is no time: correct it, or unset it. */
  | "malformed_time"
  /** npm's package is not as it should be. */
  | "faulty_package"
  /** What was compiled can't become one executable: find what loads a file, or has no licence. */
  | "unfit_bundle"
  /** The folder for the release has something in it. */
  | "output_exists";

export class ReleaseError extends CodedError<ReleaseCode> {}
