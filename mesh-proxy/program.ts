import dns from "node:dns";
import { once } from "node:events";
import { EXIT } from "../runtime/exit.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import type { Logger } from "../runtime/log.ts";
import type { Admin, AdminPages } from "./admin.ts";
import { constraints, isTransparent, type MeshProxyConfiguration, variables } from "./configuration.ts";
import { descriptorLimit, Descriptors } from "./descriptors.ts";
import { findFastPath } from "./fast-path.ts";
import { healthcheck } from "./healthcheck.ts";
import { openHealthSocket } from "./health-socket.ts";
import { LiveCredentials } from "./live-credentials.ts";
import type { Lookup } from "./names.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { Proxy, routes } from "./proxy.ts";
import { removeRules } from "./transparent/install.ts";
import { requireNoCapabilities } from "./transparent/privileges.ts";
import { readBy } from "./splice.ts";
import { type SetUp, setUp } from "./transparent/set-up.ts";
import { createWatch, inEffect } from "./watch.ts";

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const preparation = await prepare(configuration, log);
  const credentials = await LiveCredentials.open(configuration.CONTRAST_TLS_CONFIG_DIR, log);
  const now = (): Date => new Date();
  const all = routes(configuration, { credentials, lookup, now });
  const descriptors = descriptorLimit();
  const clock = (): number => performance.now();
  const watch = createWatch(configuration, { credentials, descriptors, stdout: process.stdout, now, clock });
  let isReady = false;
  const admin = await openAdmin(configuration.CONTRAST_ADMIN_PORT, log, {
    isReady: () => isReady,
    metrics: async () => watch.metrics.text(),
    configuration: () => inEffect(configuration, all, watch),
  });
  const fastPath = await findFastPath();
  if (fastPath !== undefined) readBy(fastPath);
  else log.warn({ hint: "nothing is wrong but the speed" }, "this Node does not read into one buffer: using its own");
  const proxy = new Proxy(log, new Descriptors(descriptors), watch);
  await proxy.open(all);
  if (preparation !== undefined) {
    // All that can fail has been tried. The program that takes over does it again.
    admin?.close();
    await proxy.close(0);
    await preparation.finish(stop);
    return EXIT.done;
  }
  for (const { name, listen, san } of configuration.CONTRAST_EGRESS_PROXY_CONFIG) {
    if (san !== undefined) continue;
    log.warn(
      { rule: name, listener: formatEndpoint(listen), hint: "add #<san> to the rule" },
      "egress does not pin the upstream's identity: any workload of the mesh may answer",
    );
  }
  const listeners = all.map(({ name, at, to }) => `${name}: ${formatEndpoint(at)} -> ${to}`);
  const health = await openHealthSocket(process.env);
  if (health === undefined) log.warn("health checks without an admin port get no answer: their socket is taken");
  log.info({ listeners }, "ready");
  isReady = true;

  process.on("SIGHUP", () => void credentials.reload());
  void credentials.follow(stop);
  if (!stop.aborted) await once(stop, "abort");
  isReady = false;
  health?.close();
  const drainMs = configuration.CONTRAST_DRAIN_TIMEOUT;
  log.info({ drainMs }, "stopping");
  // Who asks a second time does not want to wait.
  const again = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => again.abort());
  const isDrained = await proxy.close(drainMs, again.signal);
  await watch.accessLog?.close();
  if (!isDrained) log.warn({ code: "not_drained" }, "connections that had not ended were reset");
  return isDrained ? EXIT.done : EXIT.failed;
}

/** Of Node's HTTP, which takes 6 MB, nothing is loaded where there is no port for it. */
async function openAdmin(port: number | undefined, log: Logger, pages: AdminPages): Promise<Admin | undefined> {
  if (port === undefined) return undefined;
  const { Admin } = await import("./admin.ts");
  return Admin.open(port, pages, log);
}

/** What the system is set up to ask: /etc/hosts, then DNS. */
const lookup: Lookup = async (host) => {
  const { promise, resolve, reject } = Promise.withResolvers<readonly dns.LookupAddress[]>();
  dns.lookup(host, { all: true, order: "verbatim" }, (error, addresses) => {
    if (error === null) resolve(addresses);
    else reject(error);
  });
  return promise;
};

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
