import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { status } from "@grpc/grpc-js";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Handlers } from "../api/grpc.ts";
import { toStatus } from "../channel/rejection.ts";

/** The metrics of design §7, in the names and labels that go-grpc-prometheus made usual. */
export class Metrics {
  readonly registry = new Registry();
  readonly #handled: Counter<"grpc_service" | "grpc_method" | "grpc_code">;
  readonly #seconds: Histogram<"grpc_service" | "grpc_method">;
  readonly #attestationFailures: Counter;

  /** @param generation how many manifests the history has; 0 while none is in force */
  constructor(generation: () => number) {
    const registers = [this.registry];
    this.#handled = new Counter({
      name: "contrast_grpc_server_handled_total",
      help: "Calls that were answered, by status.",
      labelNames: ["grpc_service", "grpc_method", "grpc_code"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "contrast_grpc_server_handling_seconds",
      help: "How long calls took.",
      labelNames: ["grpc_service", "grpc_method"],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
      registers,
    });
    this.#attestationFailures = new Counter({
      name: "contrast_meshapi_attestation_failures_total",
      help: "Connections to the mesh API that were refused because of their evidence.",
      registers,
    });
    const gauge = new Gauge({
      name: "contrast_coordinator_manifest_generation",
      help: "How many manifests the history has; 0: none is in force.",
      registers: [],
      collect() {
        this.set(generation());
      },
    });
    this.registry.registerMetric(gauge);
  }

  countAttestationFailure(): void {
    this.#attestationFailures.inc();
  }

  /** The same handlers, counted and timed. */
  instrument<M extends GenServiceMethods>(service: GenService<M>, handlers: Handlers<M>): Handlers<M> {
    const counted = service.methods.map((method) => {
      const labels = { grpc_service: service.typeName, grpc_method: method.name };
      const handler: Handlers<M>[string] | undefined = handlers[method.localName];
      if (handler === undefined) throw new Error(`no handler for ${method.name}`);
      const instrumented: typeof handler = async (request, call) => {
        const stop = this.#seconds.startTimer(labels);
        let code = status.OK;
        try {
          return await handler(request, call);
        } catch (error) {
          code = toStatus(error).code ?? status.UNKNOWN;
          throw error;
        } finally {
          stop();
          this.#handled.inc({ ...labels, grpc_code: status[code] });
        }
      };
      return [method.localName, instrumented] as const;
    });
    return Object.fromEntries(counted) as Handlers<M>;
  }
}
