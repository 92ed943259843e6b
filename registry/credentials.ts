import type { Secret } from "../runtime/secret.ts";

/** What a registry may be shown. */
export type Credentials =
  | { readonly kind: "password"; readonly username: string; readonly password: Secret }
  /** A refresh token of OAuth 2.0, which `docker login` keeps in place of a password for some registries. */
  | { readonly kind: "identity-token"; readonly token: Secret };

/**
 * Where credentials come from. It is asked only after a registry has asked.
 *
 * @param registry as in ImageReference
 * @returns undefined where there are none
 * @throws ImageError unusable_credentials
 */
export type CredentialSource = (registry: string, repository: string) => Promise<Credentials | undefined>;
