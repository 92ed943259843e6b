import { outcomeOf } from "../api/refusal.ts";
import { EvidenceError } from "../attestation/error.ts";
import { EndorsementError } from "../attestation/endorsements/error.ts";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { ManifestError } from "../manifest/error.ts";
import { HistoryError } from "../manifest/history.ts";
import { MeasurementError } from "../measurement/error.ts";
import { ConfigurationError } from "../runtime/environment.ts";
import { CodedError } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { VerifyError } from "../verifier/error.ts";
import { CliError } from "./context.ts";
import { ResourceError } from "../kubernetes/error.ts";

/** The exit code of an error (docs/design.md §8): the one table for everything that a command can throw. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ChannelError) return error.code === "evidence_missing" ? EXIT.refused : EXIT.unreachable;
  // A code that this version does not know was still a refusal.
  if (error instanceof RemoteError) return outcomeOf(error.code)?.exit ?? EXIT.refused;
  if (error instanceof EvidenceError || error instanceof HistoryError) return EXIT.refused;
  if (error instanceof ManifestError || error instanceof ResourceError) return EXIT.usage;
  if (error instanceof ConfigurationError || error instanceof MeasurementError) return EXIT.usage;
  if (error instanceof EndorsementError) return error.code === "vendor_unreachable" ? EXIT.unreachable : EXIT.failed;
  if (error instanceof CliError) return CLI_EXIT[error.code];
  if (error instanceof VerifyError) return exitCodeOfVerify(error);
  if (error instanceof CodedError) return outcomeOf(error.code)?.exit ?? EXIT.failed;
  return EXIT.failed;
}

const CLI_EXIT: Readonly<Record<CliError["code"], number>> = {
  unreadable_file: EXIT.usage,
  unwritable_file: EXIT.failed,
  malformed_file: EXIT.usage,
  another_deployment: EXIT.refused,
  pin_mismatch: EXIT.refused,
  seed_known_to_others: EXIT.refused,
  not_pinned: EXIT.refused,
  manifest_mismatch: EXIT.refused,
  policy_mismatch: EXIT.usage,
  not_a_coordinator: EXIT.refused,
  no_seed_share: EXIT.refused,
  insecure_not_allowed: EXIT.refused,
  kubectl_failed: EXIT.failed,
  backup_outdated: EXIT.refused,
  channel_required: EXIT.usage,
  http_required: EXIT.usage,
  set_not_confirmed: EXIT.refused,
  usage: EXIT.usage,
};

/** What was answered over HTTP may be anybody's: it is worth an exit code, as what a peer says over the channel is. */
function exitCodeOfVerify({ code, answered }: VerifyError): number {
  const refusal = answered === undefined ? undefined : outcomeOf(answered);
  return refusal?.exit ?? VERIFY_EXIT[code];
}

const VERIFY_EXIT: Readonly<Record<VerifyError["code"], number>> = {
  invalid_option: EXIT.usage,
  insecure_not_allowed: EXIT.refused,
  unreachable: EXIT.unreachable,
  not_ready: EXIT.failed,
  request_refused: EXIT.refused,
  redirected: EXIT.unreachable,
  unexpected_answer: EXIT.unreachable,
  answer_too_large: EXIT.unreachable,
  nonce_mismatch: EXIT.refused,
  not_coordinator: EXIT.refused,
  manifest_mismatch: EXIT.refused,
  digest_mismatch: EXIT.refused,
  ca_mismatch: EXIT.refused,
  seed_known_to_others: EXIT.refused,
  foreign_certificate: EXIT.refused,
  not_continued: EXIT.refused,
  changed_meanwhile: EXIT.failed,
  malformed_statement: EXIT.usage,
  nonce_not_bound: EXIT.refused,
  statement_from_future: EXIT.refused,
};
