import { CodedError, type Details } from "../runtime/errors.ts";

/**
 * What goes wrong on the way to an attested connection.
 *
 * - `unreachable`: nobody answers at the address; try again later or correct the address
 * - `tls_handshake`: what answers is not a Coordinator, or something in between interferes
 * - `timeout`: the peer was too slow; try again later
 * - `closed`: the peer went away in the middle; try again later
 * - `message_too_large`, `malformed_message`: the peer does not speak this protocol; stop
 * - `address_unavailable`: this program can't listen there; stop what does, or choose another address
 * - `client_key`: the client's key is of a kind that is not taken, or it has not proven to have it; use another key
 * - `evidence_missing`: the peer was asked for evidence and has none; stop
 * - `version_unsupported`: the peer speaks no protocol that this side speaks; update one of them
 */
export type ChannelCode =
  | "unreachable"
  | "tls_handshake"
  | "timeout"
  | "closed"
  | "message_too_large"
  | "malformed_message"
  | "address_unavailable"
  | "client_key"
  | "evidence_missing"
  | "version_unsupported";

export class ChannelError extends CodedError<ChannelCode> {}

/**
 * What the peer refused, in its words. The code is the peer's; it may come from a hostile one, so it is worth a
 * message and an exit code and never a decision about trust.
 */
export class RemoteError extends CodedError {
  /** Nothing is wrong with this side: the same request may succeed later. */
  readonly transient: boolean;
  /** What the peer asks to wait before that, in milliseconds. */
  readonly retryAfterMs: number;

  constructor(
    code: string,
    message: string,
    transient: boolean,
    details: Details & { readonly retryAfterMs?: number } = {},
  ) {
    super(code, message, details);
    this.transient = transient;
    this.retryAfterMs = details.retryAfterMs ?? 0;
  }
}

/** Why a server can't listen, for people. */
export function cannotListen(port: number, address: string | undefined, cause: unknown): ChannelError {
  return new ChannelError("address_unavailable", "can't listen", {
    where: `${address ?? "*"}:${port}`,
    got: (cause as NodeJS.ErrnoException).code,
    hint: "stop what listens there, or set CONTRAST_LISTEN_ADDRESS to an address of this machine",
    cause,
  });
}
