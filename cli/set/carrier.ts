import type { ActiveHistory } from "../workspace/active-history.ts";
import type { Result } from "../context.ts";
import type { Leave } from "../workspace/leave.ts";
import type { ProvenChange } from "../workspace/pending-change.ts";

/** What brings a change to a Coordinator: the attested channel, or HTTP. */
export interface Carrier {
  /** What is in force, from a Coordinator that has proven itself; undefined: nothing is. */
  readonly active: () => Promise<ActiveHistory | undefined>;
  /** @param before what `active` returned @throws RemoteError, Refusal, HistoryError, and what its way has */
  readonly set: (change: ChangeToSet, before: ActiveHistory | undefined) => Promise<Outcome>;
  /** Whether what proved itself is a software TEE. */
  readonly isInsecure: () => boolean;
  readonly close: () => void;
}

export interface ChangeToSet {
  /** Its bytes. */
  readonly manifest: Uint8Array;
  /** The documents of all policies that it lists. */
  readonly policies: readonly Uint8Array[];
  /** The transition that it has to follow; undefined: any. */
  readonly latestTransition: Uint8Array | undefined;
  readonly leave: Leave;
  /** Whether the signatures were made elsewhere. */
  readonly isDetached: boolean;
  readonly revoke: boolean;
  readonly leavePending: boolean;
}

export type Outcome =
  /** It takes more owners. */
  | { readonly pending: ProvenChange; readonly notes: Result }
  /** It is in force, and what the workspace keeps of it is written. */
  | {
      readonly pending?: undefined;
      readonly transition: string;
      readonly written: readonly string[];
      readonly notes: Result;
    };
