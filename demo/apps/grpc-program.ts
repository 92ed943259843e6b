import { once } from "node:events";
import type { Server } from "@grpc/grpc-js";
import { EXIT } from "../../runtime/exit.ts";
import { type Host, type Running, runProgram } from "../../runtime/program.ts";
import { listenAddress, port } from "./configuration.ts";
import { listenGrpc, listenHttp } from "./listener.ts";
import { createMetrics } from "./metrics.ts";

const variables = {
  GRPC_PORT: port(8080, "the port of the service"),
  PROM_PORT: port(8801, "the port of the metrics, GET /metrics"),
  LISTEN_ADDRESS: listenAddress,
} as const;

/** What the programs `emoji` and `voting` have in common: a gRPC service, and its metrics on a second port. */
export interface GrpcProgram {
  readonly name: string;
  readonly summary: string;
  readonly create: () => { readonly server: Server; readonly metrics: () => string };
}

export async function runGrpcProgram(program: GrpcProgram, host: Host): Promise<never> {
  const run = async ({ configuration, log, stop }: Running<typeof variables>): Promise<number> => {
    const { server, metrics } = program.create();
    const { LISTEN_ADDRESS, GRPC_PORT, PROM_PORT } = configuration;
    const listeners = [
      await listenGrpc(server, LISTEN_ADDRESS, GRPC_PORT),
      await listenHttp(createMetrics(metrics), LISTEN_ADDRESS, PROM_PORT),
    ];
    log.info({ address: LISTEN_ADDRESS, grpc: GRPC_PORT, metrics: PROM_PORT }, "ready");
    if (!stop.aborted) await once(stop, "abort");
    await Promise.all(listeners.map((listener) => listener.close()));
    return EXIT.done;
  };
  return runProgram({ name: program.name, summary: program.summary, variables, run }, host);
}
