import type { Secret } from "../../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";

/** What all TLS contexts of the proxy are made of. */
export interface CredentialsInUse extends Credentials {
  /** What the keys of the tickets are derived from: another one for each set, and another one every hour. */
  readonly ticketSecret: Secret;
}

/** The certificate set in use. */
export interface CurrentCredentials {
  readonly current: CredentialsInUse;
  /** Calls `use` with each set that becomes the current one from now on; when it returns, new connections are made with it. */
  onChange(use: (credentials: CredentialsInUse) => void): void;
}
