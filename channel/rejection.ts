import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { type Rejected, RejectedSchema } from "../api/channel_pb.ts";
import type { Status } from "../api/status.ts";
import { outcomeOf, Refusal } from "../api/refusal.ts";
import { CodedError } from "../runtime/errors.ts";
import { RemoteError } from "./error.ts";

/** Carries a refusal to the peer, in the exchange or with a gRPC status, and back into an error on its side. */

const METADATA_KEY = "contrast-rejected-bin";

/** What is transient mostly waits for a person, who does not notice two seconds. */
const RETRY_AFTER_MS = 2000;

/** Of a text that a peer says, in UTF-16 units. */
const MAX_TEXT = 4096;

/** An error of ours as the peer may see it. What is not a coded error is ours alone: the peer learns only `internal`. */
export function toRejected(error: unknown): Rejected {
  if (!(error instanceof CodedError)) return create(RejectedSchema, { code: "internal", message: "internal error" });
  const transient = outcomeOf(error.code)?.transient ?? false;
  const retryAfterMs = error instanceof Refusal ? error.retryAfterMs : undefined;
  const rejected: MessageInitShape<typeof RejectedSchema> = {
    code: error.code,
    message: error.message,
    transient,
    ...(transient ? { retryAfterMs: retryAfterMs ?? RETRY_AFTER_MS } : {}),
    ...(error.where === undefined ? {} : { field: error.where }),
    ...(error.got === undefined ? {} : { got: error.got }),
    ...(error.want === undefined ? {} : { want: error.want }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
  return create(RejectedSchema, rejected);
}

export function fromRejected(rejected: Rejected): RemoteError {
  return new RemoteError(printable(rejected.code), printable(rejected.message), rejected.transient, {
    ...(rejected.field === undefined ? {} : { where: printable(rejected.field) }),
    ...(rejected.got === undefined ? {} : { got: printable(rejected.got) }),
    ...(rejected.want === undefined ? {} : { want: printable(rejected.want) }),
    ...(rejected.hint === undefined ? {} : { hint: printable(rejected.hint) }),
    ...(rejected.retryAfterMs === undefined ? {} : { retryAfterMs: rejected.retryAfterMs }),
  });
}

/** A hostile server's words reach people's terminals, where control characters are commands. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, "\u{fffd}").slice(0, MAX_TEXT);
}

export function toStatus(error: unknown): Status {
  const rejected = toRejected(error);
  const metadata = new Metadata();
  metadata.set(METADATA_KEY, Buffer.from(toBinary(RejectedSchema, rejected)));
  const fallback = rejected.code === "internal" ? status.INTERNAL : status.UNAUTHENTICATED;
  return { code: outcomeOf(rejected.code)?.status ?? fallback, details: rejected.message, metadata };
}

/** @returns undefined where the status does not come from `toStatus` */
export function fromStatus(error: ServiceError): RemoteError | undefined {
  const [bytes] = error.metadata.get(METADATA_KEY);
  if (!Buffer.isBuffer(bytes)) return undefined;
  try {
    return fromRejected(fromBinary(RejectedSchema, bytes));
  } catch {
    return undefined;
  }
}
