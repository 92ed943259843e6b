import { CodedError } from "../runtime/errors.ts";

/** Why nothing is known about an image, and what to do about it. */
export type ImageProblemKind =
  /** The text is no image reference: correct it where `got` points. */
  | "malformed_reference"
  /** No connection comes about: look at the network and at HTTPS_PROXY, or do without by --offline. */
  | "unreachable"
  /** --offline, and the cache does not have it: run it once without. */
  | "not_cached"
  /** The connection stands, and no complete answer comes: ask again later, or ask who runs the registry. */
  | "no_answer"
  /** The registry's certificate is not trusted: tell Node of a private CA by NODE_EXTRA_CA_CERTS. */
  | "untrusted_registry"
  /** The registry wants other credentials, or none are enough: log in. */
  | "denied"
  /** The registry has no such image, or does not admit it without credentials: correct the name, or log in. */
  | "not_found"
  /** The registry refuses more requests for now, also after some waiting: run it again later, or log in. */
  | "busy"
  /** The answer is not what was asked for or breaks the protocol: find out who answers in the registry's place. */
  | "invalid_answer"
  /** There is such an image, and it can't run in a confidential VM: it is not for linux/amd64, or too old. */
  | "unsupported_image"
  /** A credentials file of docker or podman, or a credential helper, does not work: correct it. */
  | "unusable_credentials";

export interface ImageProblem {
  readonly kind: ImageProblemKind;
  readonly got: string;
  readonly want: string;
  /** The next step. */
  readonly hint: string;
}

/** What is thrown inside of this folder. `resolveImages` hands it out as an ImageProblem. */
export class ImageError extends CodedError<ImageProblemKind> {
  readonly problem: ImageProblem;

  constructor(kind: ImageProblemKind, got: string, want: string, hint: string, cause?: unknown) {
    super(kind, "nothing is known about the image", { got, want, hint, cause });
    this.problem = { kind, got, want, hint };
  }

  /** What breaks the protocol or is a lie. */
  static invalid(got: string, want: string): ImageError {
    return new ImageError("invalid_answer", got, want, "find out what answers in the registry's place, and why");
  }
}
