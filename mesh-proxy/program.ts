import { once } from "node:events";
import { EXIT } from "../runtime/exit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import type { Logger } from "../runtime/log.ts";
import { memoryLimit, system } from "../runtime/memory-limit.ts";
import { Admin, type AdminPages } from "./observe/admin.ts";
import { constraints, type MeshProxyConfiguration, variables } from "./configuration.ts";
import { descriptorLimit } from "./limits/descriptors.ts";
import { healthcheck } from "./observe/healthcheck.ts";
import { openHealthSocket } from "./observe/health-socket.ts";
import { LiveCredentials } from "./credentials/live-credentials.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { openPorts } from "../mesh-rules/ingress-variables.ts";
import { removeStaticRules } from "../netfilter/install-static.ts";
import { systemLookup } from "./names.ts";
import { memoryInUse } from "./limits/memory-in-use.ts";
import { engineFile } from "./native/addon.ts";
import { startNative } from "./native/start.ts";
import { plansOf } from "./plan.ts";
import type { startStreams } from "./streams/start.ts";
import { removeRules } from "./transparent/install.ts";
import { requireNoCapabilities } from "./transparent/privileges.ts";
import { type SetUp, setUp } from "./transparent/set-up.ts";
import { inEffect } from "./observation.ts";

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const preparation = await prepare(configuration, log);
  const engine = configuration.CONTRAST_ENGINE ?? (engineFile() === undefined ? "streams" : "native");
  // The native engine refuses by itself what it can't use.
  const tryOut = engine === "streams" ? (await import("node:tls")).createSecureContext : undefined;
  const now = (): Date => new Date();
  const credentials = await LiveCredentials.open(configuration.CONTRAST_TLS_CONFIG_DIR, log, now, tryOut);
  const memory = configuration.CONTRAST_MEMORY_LIMIT ?? memoryLimit(system);
  const clock = (): number => performance.now();
  const options = {
    credentials,
    descriptors: descriptorLimit(),
    memory,
    memoryInUse: () => memoryInUse(system),
    stdout: process.stdout,
    log,
    lookup: systemLookup,
    now,
    clock,
  };
  const { proxy, observation } =
    engine === "native" ? startNative(configuration, options) : await onStreams(configuration, options);
  const plans = plansOf(configuration);
  let isReady = false;
  const pages: AdminPages = {
    isReady: () => isReady,
    metrics: async () => observation.metrics.text(),
    configuration: () => inEffect(configuration, plans, engine, observation),
  };
  const { CONTRAST_ADMIN_PORT: adminPort } = configuration;
  const admin = adminPort === undefined ? undefined : await Admin.open(adminPort, pages, log, clock);
  await proxy.open(plans);
  if (preparation !== undefined) {
    // All that can fail has been tried. The program that takes over does it again.
    admin?.close();
    await proxy.close(0);
    preparation.finish(stop);
    return EXIT.done;
  }
  for (const { name, listen, san } of configuration.CONTRAST_EGRESS_PROXY_CONFIG) {
    if (san !== undefined) continue;
    log.warn(
      { rule: name, listener: formatEndpoint(listen), hint: "add #<san> to the rule" },
      "egress does not pin the upstream's identity: any workload of the mesh is accepted",
    );
  }
  const listeners = plans.map(({ name, at, to }) => `${name}: ${formatEndpoint(at)} -> ${to}`);
  const health = await openHealthSocket(process.env);
  if (health === undefined) log.warn("health checks without an admin port fail: another process uses their socket");
  log.info({ listeners, memory, engine }, "ready");
  isReady = true;

  process.on("SIGHUP", () => void credentials.reload());
  void credentials.follow(stop);
  if (!stop.aborted) await once(stop, "abort");
  isReady = false;
  health?.close();
  // Who asks a second time does not want to wait.
  const again = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => again.abort());
  proxy.stopIngress();
  const drainMs = configuration.CONTRAST_DRAIN_TIMEOUT;
  log.info({ drainMs }, "stopping");
  const isDrained = await proxy.close(drainMs, again.signal);
  await observation.accessLog?.close();
  if (!isDrained) log.warn({ code: "not_drained", hint: RAISE }, "connections that were still open were reset");
  return isDrained ? EXIT.done : EXIT.failed;
}

/** What only this engine needs is not loaded for the other one: it would take a third of the time to start. */
async function onStreams(
  ...[configuration, options]: Parameters<typeof startStreams>
): ReturnType<typeof startStreams> {
  return (await import("./streams/start.ts")).startStreams(configuration, options);
}

const RAISE = "raise CONTRAST_DRAIN_TIMEOUT, and the pod's terminationGracePeriodSeconds above it";

/** @returns undefined where nothing needs a privilege, or where that part is done */
async function prepare(configuration: MeshProxyConfiguration, log: Logger): Promise<SetUp | undefined> {
  const {
    CONTRAST_INGRESS_PROXY_CONFIG: rules = [],
    CONTRAST_ADMIN_PORT: adminPort,
    CONTRAST_INGRESS_SOCKETS: sockets,
  } = configuration;
  const open = openPorts(configuration);
  if (open === undefined) return undefined;
  if (sockets !== undefined) {
    await requireNoCapabilities();
    return undefined;
  }
  const argv = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  return setUp({ rules, adminPort, openPorts: open }, { argv, environment: process.env }, log);
}

await runProgram(
  {
    name: "mesh-proxy",
    summary: "mutual TLS between the workloads of a deployment",
    variables,
    constraints,
    run,
    commands: {
      healthcheck: {
        help: "checks whether the proxy is ready: exit code 0 or 1; healthcheck wait: waits until it is",
        async run() {
          const { code, text } = await healthcheck(process.env);
          process.stdout.write(`${text}\n`);
          return code;
        },
      },
      "remove-rules": {
        help: "removes the rules of mode transparent; every port of the pod is then open to everybody",
        async run({ log }) {
          const leading = await removeRules(process.env);
          log.info({ static: await removeStaticRules(process.env), leading }, "ingress rules removed");
          return EXIT.done;
        },
      },
    },
  },
  process,
);
