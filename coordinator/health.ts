import { create, type MessageShape } from "@bufbuild/protobuf";
import {
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { definition } from "../api/grpc.ts";
import {
  Health,
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
} from "../api/health_pb.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import type { StateGuard } from "./state-guard.ts";

/**
 * The gRPC health checking protocol. The mesh API, and the Coordinator as a whole, serve where a manifest is in force,
 * as `/probe/readiness` says; the user API serves in every state, or nobody could set or recover.
 */
type Answer = MessageShape<typeof HealthCheckResponseSchema>;

export function serveHealth(server: Server, guard: Pick<StateGuard, "phase" | "onChange">): void {
  const statusOf = (service: string): Answer["status"] | undefined => {
    if (service === UserAPI.typeName) return ServingStatus.SERVING;
    if (service !== "" && service !== MeshAPI.typeName) return undefined;
    return guard.phase === "active" ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  const answer = (status: Answer["status"]): Answer => create(HealthCheckResponseSchema, { status });

  const check = ({ request }: ServerUnaryCall<HealthCheckRequest, Answer>, callback: sendUnaryData<Answer>): void => {
    const found = statusOf(request.service);
    if (found === undefined) callback({ code: status.NOT_FOUND, details: "unknown service" });
    else callback(null, answer(found));
  };
  const watch = (call: ServerWritableStream<HealthCheckRequest, Answer>): void => {
    let told: Answer["status"] | undefined;
    const tell = (): void => {
      const found = statusOf(call.request.service) ?? ServingStatus.SERVICE_UNKNOWN;
      if (found === told) return;
      told = found;
      call.write(answer(found));
    };
    call.on("close", guard.onChange(tell));
    tell();
  };
  const { method } = Health;
  server.addService(
    { check: definition(Health, method.check), watch: definition(Health, method.watch) },
    { check, watch },
  );
}
