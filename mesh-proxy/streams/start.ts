import type { MeshProxyConfiguration } from "../configuration.ts";
import { forConnections } from "../limits/descriptors.ts";
import { shedWhileScarce } from "../limits/memory-in-use.ts";
import type { EngineOptions, StartedEngine } from "../proxy-engine.ts";
import { Splicer } from "./carry/splicer.ts";
import { askKernel } from "./kernel.ts";
import { StreamsProxy } from "./proxy.ts";
import { routes } from "./routes.ts";
import { createTelemetry, type Telemetry } from "./telemetry.ts";

/** The engine on Node's public streams: slower, and what the native one is compared with. @throws MeshProxyError `node` */
export async function startStreams(
  configuration: MeshProxyConfiguration,
  options: EngineOptions,
): Promise<StartedEngine<Telemetry>> {
  const { log, memoryInUse: inUse, memory: limit, descriptors } = options;
  const kernel = await askKernel();
  const telemetry = createTelemetry(configuration, options, kernel.bytesHeld);
  shedWhileScarce({ inUse, limit }, (bytes) => telemetry.memory.shed(bytes));
  const proxy = new StreamsProxy({
    log,
    descriptors: forConnections(descriptors),
    duplicate: kernel.duplicate,
    telemetry,
    splicer: new Splicer(kernel.lookAt),
    routesOf: (plans) => routes(plans, configuration, options),
  });
  return { proxy, observation: telemetry };
}
