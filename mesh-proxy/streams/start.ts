import { Descriptors } from "../limits/descriptors.ts";
import { loadSocketOption } from "./socket-option.ts";
import { tcpInfo } from "./kernel.ts";
import { streams } from "./carry/splice.ts";
import type { MeshProxyConfiguration } from "../configuration.ts";
import { openReading } from "./tls/prove.ts";
import { socketMemory } from "../limits/memory-in-use.ts";
import type { NativeOptions } from "../native/start.ts";
import { Proxy } from "./proxy.ts";
import { routes } from "./routes.ts";
import { createTelemetry, type Telemetry } from "../telemetry.ts";

export interface StreamsOptions extends NativeOptions {
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
}

/** The engine on Node's public streams: slower, and what the native one is compared with. @throws MeshProxyError `node` */
export async function startStreams(
  configuration: MeshProxyConfiguration,
  options: StreamsOptions,
): Promise<{ proxy: Proxy; observation: Telemetry }> {
  const { log, credentials, lookup, now, clock } = options;
  const socketOption = await loadSocketOption();
  const telemetry = createTelemetry(configuration, { ...options, memoryOf: socketMemory(socketOption) });
  const surroundings = { credentials, lookup, now, reading: await openReading(clock) };
  const proxy = new Proxy({
    log,
    descriptors: new Descriptors(options.descriptors),
    telemetry,
    dataPath: streams(tcpInfo(socketOption)),
    routesOf: (plans) => routes(plans, configuration, surroundings),
  });
  return { proxy, observation: telemetry };
}
