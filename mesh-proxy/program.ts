import { once } from "node:events";
import { EXIT } from "../runtime/exit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import type { Logger } from "../runtime/log.ts";
import type { Admin, AdminPages } from "./admin.ts";
import { constraints, isTransparent, type MeshProxyConfiguration, variables } from "./configuration.ts";
import { createDataPath, carryFast } from "./data-path.ts";
import { healthcheck } from "./healthcheck.ts";
import { openHealthSocket } from "./health-socket.ts";
import { LiveCredentials } from "./live-credentials.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { handshakeLimits } from "./limits.ts";
import type { Proxy } from "./proxy.ts";
import { eventLoops, usableCores } from "./threads/event-loops.ts";
import { type Beginning, toClone } from "./threads/messages.ts";
import { type ThreadShare, shareLimits } from "./threads/share.ts";
import type { Threads } from "./threads/threads.ts";
import { removeRules } from "./transparent/install.ts";
import { requireNoCapabilities } from "./transparent/privileges.ts";
import { type SetUp, setUp } from "./transparent/set-up.ts";
import { inEffect } from "./watch.ts";

async function run(running: Running<typeof variables>): Promise<number> {
  const { configuration, log, stop } = running;
  const preparation = await prepare(configuration, log);
  const credentials = await LiveCredentials.open(configuration.CONTRAST_TLS_CONFIG_DIR, log);
  const loops = eventLoops(configuration.CONTRAST_WORKERS, usableCores(), handshakeLimits(configuration));
  const share = loops > 1 ? shareLimits(loops, configuration) : undefined;
  const { routes, watch, proxy } = createDataPath(configuration, {
    credentials,
    share,
    log,
    now: () => new Date(),
    clock: () => performance.now(),
  });
  let threads: Threads | undefined;
  let isReady = false;
  const admin = await openAdmin(configuration.CONTRAST_ADMIN_PORT, log, {
    isReady: () => isReady,
    metrics: async () => watch.metrics.text(await threads?.counted()),
    configuration: () => inEffect(configuration, routes, watch),
  });
  if (!(await carryFast())) {
    log.warn(
      { hint: "nothing is wrong but the speed" },
      "this Node's internals are unknown: bytes go through its streams",
    );
  }
  await proxy.open(routes);
  if (preparation !== undefined) {
    // All that can fail has been tried. The program that takes over does it again.
    admin?.close();
    await proxy.close(0);
    await preparation.finish(stop);
    return EXIT.done;
  }
  if (share !== undefined) threads = await startThreads(running, { credentials, share, proxy });
  for (const { name, listen, san } of configuration.CONTRAST_EGRESS_PROXY_CONFIG) {
    if (san !== undefined) continue;
    log.warn(
      { rule: name, listener: formatEndpoint(listen), hint: "add #<san> to the rule" },
      "egress does not pin the upstream's identity: any workload of the mesh may answer",
    );
  }
  const listeners = routes.map(({ name, at, to }) => `${name}: ${formatEndpoint(at)} -> ${to}`);
  const health = await openHealthSocket(process.env);
  if (health === undefined) log.warn("health checks without an admin port get no answer: their socket is taken");
  log.info({ listeners, loops }, "ready");
  isReady = true;

  process.on("SIGHUP", () => void credentials.reload());
  void credentials.follow(stop);
  const failed = threads?.failed ?? new Promise<never>(() => {});
  if (!stop.aborted) await Promise.race([once(stop, "abort"), failed]);
  isReady = false;
  health?.close();
  // Who asks a second time does not want to wait.
  const again = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => again.abort());
  proxy.stopIngress();
  await Promise.race([threads?.stopIngress(), failed]);
  const drainMs = configuration.CONTRAST_DRAIN_TIMEOUT;
  log.info({ drainMs }, "stopping");
  const closed = Promise.all([proxy.close(drainMs, again.signal), threads?.close(drainMs, again.signal) ?? true]);
  const isDrained = (await Promise.race([closed, failed])).every((one) => one);
  await watch.accessLog?.close();
  if (!isDrained) log.warn({ code: "not_drained" }, "connections that had not ended were reset");
  return isDrained ? EXIT.done : EXIT.failed;
}

/** The other threads, each with its own descriptors of the sockets that this one listens on. */
async function startThreads(
  { configuration, logOptions }: Running<typeof variables>,
  { credentials, share, proxy }: { credentials: LiveCredentials; share: ThreadShare; proxy: Proxy },
): Promise<Threads> {
  const { Threads } = await import("./threads/threads.ts");
  const beginnings: Beginning[] = [];
  for (let index = 1; index < share.threads; index++) {
    beginnings.push({
      configuration,
      credentials: toClone(credentials.current),
      share: { ...share, index },
      sockets: await proxy.shareSockets(),
      log: logOptions,
    });
  }
  const threads = await Threads.start(process.argv[1] ?? "", beginnings);
  credentials.onChange(async (current) => threads.use(current));
  return threads;
}

/** Of Node's HTTP, which takes 6 MB, nothing is loaded where there is no port for it. */
async function openAdmin(port: number | undefined, log: Logger, pages: AdminPages): Promise<Admin | undefined> {
  if (port === undefined) return undefined;
  const { Admin } = await import("./admin.ts");
  return Admin.open(port, pages, log);
}

/** @returns undefined where nothing needs a privilege, or where that part is done */
async function prepare(configuration: MeshProxyConfiguration, log: Logger): Promise<SetUp | undefined> {
  const {
    CONTRAST_INGRESS_PROXY_CONFIG: rules = [],
    CONTRAST_ADMIN_PORT: adminPort,
    CONTRAST_INGRESS_SOCKETS: sockets,
  } = configuration;
  if (!isTransparent(configuration)) return undefined;
  if (sockets !== undefined) {
    await requireNoCapabilities();
    return undefined;
  }
  const argv = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  return setUp({ rules, adminPort }, { argv, environment: process.env }, log);
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
        help: "asks whether the proxy is ready: exit code 0 or 1; healthcheck wait: asks until it is",
        async run() {
          const { code, text } = await healthcheck(process.env);
          process.stdout.write(`${text}\n`);
          return code;
        },
      },
      "remove-rules": {
        help: "removes the rules of mode transparent: every port of the pod is then open to everybody",
        async run({ log }) {
          log.info({ backends: await removeRules(process.env) }, "ingress rules removed");
          return EXIT.done;
        },
      },
    },
  },
  process,
);
