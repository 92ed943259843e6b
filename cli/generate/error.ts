import { ResourceError } from "../../kubernetes/error.ts";

/** Why `generate` changed nothing, beside what is wrong with files of resources, and what to do about it. */
export type GenerateCode =
  /** A file of keys, or the manifest, can't be read: correct the path or its permissions. */
  | "unreadable_file"
  /** Findings of severity error, or with --strict any: correct the named places. */
  | "findings"
  /** The file of --image-replacements can't be used: correct the named line. */
  | "invalid_image_replacements"
  /** The engine of the agent would not load the policy of a pod: shorten what the message names. */
  | "policy_too_large"
  /** Measurements of a firmware alone, or of another platform: measure what the pods' VMs are started with. */
  | "unusable_measurements"
  /** A pod's VM has a number of vCPUs that is not measured: run `contrast measure snp` again, with --pods. */
  | "no_measurement"
  /** A file of --guest-ca can't be used: give certificates of CAs, PEM, without a private key. */
  | "invalid_guest_ca"
  /** A key file can't be used: give a PEM file of the right kind. */
  | "invalid_key"
  /** More seed share owners would be needed than there are: lower the threshold, or add keys. */
  | "threshold_too_high";

export class GenerateError extends ResourceError<GenerateCode> {}
