import type { Clock } from "../attestation/clock.ts";
import type { Network } from "../attestation/endorsements/fetch.ts";
import type { ChipVendors } from "../attestation/endorsements/vendors.ts";
import { CodedError } from "../runtime/errors.ts";
import { printable, printableLines } from "../report/print.ts";
import { INSECURE } from "../report/insecure.ts";
import type { Resolution } from "../registry/resolve.ts";
import type { Progress } from "./progress.ts";

/** What every command works with. Results go to `out`, talk goes to `talk`: standard output and standard error. */
export interface Context {
  /** Where the workspace files are (docs/design.md §8). */
  readonly workspace: string;
  readonly format: "text" | "json";
  /** The user accepts a software TEE. */
  readonly insecure: boolean;
  readonly now: () => Date;
  /** For whatever is decided by time. */
  readonly clock: Clock;
  /** For a command that talks to others than Coordinator, vendors and registries. */
  readonly network: Network;
  /** Random bytes, of this number, that nobody can guess. */
  readonly random: (length: number) => Uint8Array;
  /** Who is asked for what the sender of evidence lacked. */
  readonly vendors: ChipVendors;
  /** What the registries of these images, or with `offline` the cache, say about them. */
  readonly resolveImages: (references: readonly string[], offline: boolean) => Promise<Resolution>;
  /** Standard input. */
  readonly input: () => AsyncIterable<Uint8Array> & { readonly isTTY?: boolean };
  readonly out: (text: string) => void;
  readonly talk: (line: string) => void;
  /** As `talk`, for what nobody should miss. */
  readonly warn: (line: string) => void;
  /** Shows on a terminal that something takes long. The caller has to end it, whatever happens. */
  readonly progress: (label: string) => Progress;
}

/**
 * - `unreadable_file`, `unwritable_file`: correct the path or its permissions
 * - `malformed_file`: the file is not what the option needs
 * - `another_deployment`: the workspace knows another root CA: find out who replaced the deployment
 * - `pin_mismatch`: the history lacks a transition that the workspace knows: find out who took back or made up what
 * - `not_pinned`: the workspace knows no deployment: run `contrast verify` while the Coordinator is active
 * - `manifest_mismatch`: the Coordinator enforces another manifest than the one at hand
 * - `policy_mismatch`: the files were changed after `generate`: run it again
 * - `not_a_coordinator`: what answered is attested and has no right to be the Coordinator
 * - `no_seed_share`: there is no seed share for this key
 * - `insecure_not_allowed`: the manifest trusts a software TEE: use --insecure if you mean it
 * - `kubectl_failed`: kubectl does not lead to the cluster: see that `kubectl get configmaps` works
 * - `backup_outdated`: the history that is there is newer than the backup: use --replace if you mean it
 * - `channel_required`: the command can't be done over HTTP: name the Coordinator by host:port
 * - `http_required`: the command is one over HTTP: name the Coordinator by the URL of its HTTP API
 * - `set_not_confirmed`: the Coordinator's evidence does not say that the manifest is in force: find out what answered
 * - `usage`: the options contradict each other
 */
export type CliCode =
  | "unreadable_file"
  | "unwritable_file"
  | "malformed_file"
  | "another_deployment"
  | "pin_mismatch"
  | "seed_known_to_others"
  | "not_pinned"
  | "manifest_mismatch"
  | "policy_mismatch"
  | "not_a_coordinator"
  | "no_seed_share"
  | "insecure_not_allowed"
  | "kubectl_failed"
  | "backup_outdated"
  | "channel_required"
  | "http_required"
  | "set_not_confirmed"
  | "usage";

export class CliError extends CodedError<CliCode> {}

/** What a command has to say: facts by their names. Undefined ones are left out. */
export type Result = Readonly<
  Record<string, Fact | readonly Fact[] | readonly Readonly<Record<string, Fact>>[] | undefined>
>;
type Fact = string | number | boolean;

/** Prints a result: as one JSON document, or as lines of `label: value`. Names in it may be a stranger's text. */
export function printResult(context: Context, insecure: boolean, result: Result): void {
  const whole: Result = insecure ? { ...result, insecure: INSECURE } : result;
  if (context.format === "json") {
    context.out(`${printableLines(JSON.stringify(whole, undefined, 2))}\n`);
    return;
  }
  for (const [label, value] of Object.entries(whole)) {
    if (value === undefined) continue;
    const line = (item: Fact | object): string =>
      `\n  ${printable(typeof item === "string" ? item : JSON.stringify(item))}`;
    const text = typeof value === "object" ? value.map(line).join("") : ` ${value}`;
    context.out(`${label}:${text}\n`);
  }
}
