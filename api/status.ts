import type { StatusObject } from "@grpc/grpc-js";

/** How a call ended (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
export type Status = Partial<StatusObject>;
