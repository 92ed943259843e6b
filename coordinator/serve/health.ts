import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { decodeBounded } from "../../api/bounded-message.ts";
import { pathOf } from "../../api/grpc.ts";
import type { Answer, Methods } from "../../api/grpc-server.ts";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
} from "../../api/health_pb.ts";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { UserAPI } from "../../api/userapi_pb.ts";
import type { StateGuard } from "../state/state-guard.ts";

/**
 * The gRPC health checking protocol. The mesh API, and the Coordinator as a whole, serve where a manifest is in force,
 * as `/probe/readiness` says; the user API serves in every state, or nobody could set or recover.
 */
export function healthMethods(guard: Pick<StateGuard, "phase" | "onChange">): Methods {
  const statusOf = (service: string): ServingStatus | undefined => {
    if (service === UserAPI.typeName) return ServingStatus.SERVING;
    if (service !== "" && service !== MeshAPI.typeName) return undefined;
    return guard.phase === "active" ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  const refuseLarge = (): Answer["status"] => ({ code: status.RESOURCE_EXHAUSTED, details: "too large a request" });
  const { check, watch } = Health.method;
  return new Map([
    [
      pathOf(Health, check),
      {
        refuseLarge,
        answer: async (request) => {
          const service = serviceOf(request);
          if (service === undefined) return MALFORMED;
          const found = statusOf(service);
          if (found === undefined) return { status: { code: status.NOT_FOUND, details: "unknown service" } };
          return { status: { code: status.OK }, message: encode({ status: found }) };
        },
      },
    ],
    [
      pathOf(Health, watch),
      {
        refuseLarge,
        answer: async (request, { signal, send }) => {
          const service = serviceOf(request);
          if (service === undefined) return MALFORMED;
          let told: ServingStatus | undefined;
          const tell = (): void => {
            const found = statusOf(service) ?? ServingStatus.SERVICE_UNKNOWN;
            if (found !== told) send(encode({ status: found }));
            told = found;
          };
          const stop = guard.onChange(tell);
          tell();
          await new Promise((resolve) => {
            if (signal.aborted) resolve(undefined);
            else signal.addEventListener("abort", resolve);
          });
          stop();
          return { status: { code: status.DEADLINE_EXCEEDED, details: "the deadline of the call is over" } };
        },
      },
    ],
  ]);
}

const MALFORMED: Answer = { status: { code: status.INVALID_ARGUMENT, details: "no HealthCheckRequest" } };

/** @returns undefined where the request is none */
function serviceOf(request: Buffer): string | undefined {
  try {
    return decodeBounded(HealthCheckRequestSchema, request, MAX_FIELDS).service;
  } catch {
    return undefined;
  }
}

/** A request has one. */
const MAX_FIELDS = 8;

function encode(answer: MessageInitShape<typeof HealthCheckResponseSchema>): Uint8Array {
  return toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, answer));
}
