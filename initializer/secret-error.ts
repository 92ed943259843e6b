import { CodedError } from "../runtime/errors.ts";

/**
 * What is wrong with the secrets that a Coordinator gave. A value is in none of it.
 *
 * - `malformed_secrets`: names, versions or sizes are none that an annex has; who answers is no Coordinator, or a broken one
 * - `older_secrets`: a secret is older than the one that the pod has
 * - `secret_missing`: a template needs a secret that the workload may not read, or that there is not
 * - `secret_not_text`: a template needs text, and the secret is none
 * - `secret_file_too_large`: the file that a template becomes would be too large
 */
export class SecretError extends CodedError<
  "malformed_secrets" | "older_secrets" | "secret_missing" | "secret_not_text" | "secret_file_too_large"
> {
  /** An owner may mend it, and this program then goes on by itself. */
  get transient(): boolean {
    return this.code !== "malformed_secrets" && this.code !== "older_secrets";
  }
}
