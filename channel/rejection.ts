import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { type Rejected, RejectedSchema } from "../api/channel_pb.ts";
import type { Status } from "../api/grpc.ts";
import { outcomeOf } from "../api/refusal.ts";
import { CodedError } from "../runtime/errors.ts";
import { RemoteError } from "./error.ts";

/** Carries a refusal to the peer, in the exchange or with a gRPC status, and back into an error on its side. */

const METADATA_KEY = "contrast-rejected-bin";

/** An error of ours as the peer may see it. What is not a coded error is ours alone: the peer learns only `internal`. */
export function toRejected(error: unknown): Rejected {
  if (!(error instanceof CodedError)) return create(RejectedSchema, { code: "internal", message: "internal error" });
  const rejected: MessageInitShape<typeof RejectedSchema> = {
    code: error.code,
    message: error.message,
    transient: outcomeOf(error.code)?.transient ?? false,
    ...(error.where === undefined ? {} : { field: error.where }),
    ...(error.got === undefined ? {} : { got: error.got }),
    ...(error.want === undefined ? {} : { want: error.want }),
  };
  return create(RejectedSchema, rejected);
}

export function fromRejected(rejected: Rejected): RemoteError {
  return new RemoteError(rejected.code, rejected.message, rejected.transient, {
    ...(rejected.field === undefined ? {} : { where: rejected.field }),
    ...(rejected.got === undefined ? {} : { got: rejected.got }),
    ...(rejected.want === undefined ? {} : { want: rejected.want }),
  });
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
