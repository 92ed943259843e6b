import type { Manifest } from "../../manifest/manifest.ts";
import type { Store } from "../../store/store.ts";
import type { Sharing } from "./standing.ts";

export interface StateOptions {
  readonly store: Store;
  /** Whether a manifest may trust a software TEE. */
  readonly allowInsecure: boolean;
  /** For whatever is issued by a manifest. @throws EvidenceError where the clock can't be right */
  readonly now: (manifest: Manifest) => Date;
  readonly random: (length: number) => Buffer;
  /** For a store that several Coordinators have at once. */
  readonly sharing?: Sharing | undefined;
}
