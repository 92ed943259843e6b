import type { StatusObject } from "@grpc/grpc-js";

/** How a call ended (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
export type Status = Partial<StatusObject>;

/** The codes of it that refusals have. Who only names a refusal does not load gRPC for them: browsers do that, too. */
export const STATUS = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
