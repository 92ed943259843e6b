import type { Secret } from "../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";

/** What all TLS contexts of the proxy are made of, in all its threads. */
export interface CredentialsInUse extends Credentials {
  /** What the keys of the tickets are derived from: another one for each set, and another one every hour. */
  readonly ticketSecret: Secret;
}

/** Returns when new connections are made with it, or a promise of that. */
type Use = (credentials: CredentialsInUse) => unknown;

/** The certificate set in use, and who has to know when it is another one. */
export class CurrentCredentials {
  readonly #users: Use[] = [];
  #current: CredentialsInUse;

  constructor(current: CredentialsInUse) {
    this.#current = current;
  }

  get current(): CredentialsInUse {
    return this.#current;
  }

  /** How many sets could not be used; who reads them knows. */
  get failures(): number {
    return 0;
  }

  /** Calls `use` with each set that becomes the current one from now on. */
  onChange(use: Use): void {
    this.#users.push(use);
  }

  /** @returns when all use it */
  async replace(credentials: CredentialsInUse): Promise<void> {
    this.#current = credentials;
    await Promise.all(this.#users.map(async (use) => use(credentials)));
  }
}
