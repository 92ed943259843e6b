import { once } from "node:events";
import { EXIT, type Running, runProgram } from "../runtime/program.ts";
import { Admin } from "./admin.ts";
import { constraints, variables } from "./configuration.ts";
import { loadCredentials } from "./credentials.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { Proxy, routes } from "./proxy.ts";

/** How long connections may go on after the signal to stop. */
const GRACE_MS = 5_000;

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const credentials = await loadCredentials(configuration.CONTRAST_TLS_CONFIG_DIR);
  const all = routes(configuration, credentials, () => new Date());
  const admin = new Admin(log);
  if (configuration.CONTRAST_ADMIN_PORT !== undefined) await admin.open(configuration.CONTRAST_ADMIN_PORT);
  const proxy = new Proxy(log);
  await proxy.open(all);
  for (const { name, listen, san } of configuration.CONTRAST_EGRESS_PROXY_CONFIG) {
    if (san !== undefined) continue;
    log.warn(
      { rule: name, listener: formatEndpoint(listen), hint: "add #<san> to the rule" },
      "egress does not pin the upstream's identity: any workload of the mesh may answer",
    );
  }
  const listeners = all.map(({ name, at, to }) => `${name}: ${formatEndpoint(at)} -> ${formatEndpoint(to)}`);
  log.info({ listeners }, "ready");
  admin.isReady = true;

  if (!stop.aborted) await once(stop, "abort");
  admin.isReady = false;
  log.info({ graceMs: GRACE_MS }, "stopping");
  await proxy.close(GRACE_MS);
  return EXIT.done;
}

await runProgram(
  { name: "mesh-proxy", summary: "mutual TLS between the workloads of a deployment", variables, constraints, run },
  process,
);
