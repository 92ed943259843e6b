import { addressFamilies } from "../../netfilter/families.ts";
import { installStaticRules } from "../../netfilter/install-static.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { Logger } from "../../runtime/log.ts";
import { installRules } from "./install.ts";
import { loadLibc } from "./libc.ts";
import { requireNetAdmin, restartWithoutCapabilities } from "./privileges.ts";
import type { IngressPlan } from "./rules.ts";
import { openTransparentSockets, printSockets } from "./sockets.ts";

/**
 * The part of the start that needs NET_ADMIN. The static rules first, which the Initializer has made where there is one;
 * then those that lead to the proxy, and its listeners. Where it fails, the ports stay closed: nothing is marked, or there
 * is no listener.
 */
export interface SetUp {
  /**
   * Gives all capabilities up and starts the program anew.
   *
   * @returns where the program was told to stop before that
   * @throws MeshProxyError
   */
  readonly finish: (stop: AbortSignal) => void;
}

/**
 * @param started how this program was started, and its environment
 * @throws NetfilterError, MeshProxyError
 */
export async function setUp(
  plan: IngressPlan & { readonly openPorts: readonly number[] },
  started: { readonly argv: readonly string[]; readonly environment: Environment },
  log: Logger,
): Promise<SetUp> {
  await requireNetAdmin();
  const families = await addressFamilies();
  if (!families.includes("IPv6")) log.info("IPv6 is off in this pod: no rules are needed");
  const { backends: holding } = await installStaticRules(plan.openPorts, started.environment);
  const leading = await installRules(families, plan, started.environment);
  log.info({ static: holding, leading }, "ingress rules are in effect");
  const libc = await loadLibc();
  const sockets = openTransparentSockets(libc, families);
  return {
    finish(stop) {
      // A signal that came until now would be forgotten.
      if (stop.aborted) return;
      const environment = { ...started.environment, CONTRAST_INGRESS_SOCKETS: printSockets(sockets) };
      restartWithoutCapabilities(libc, started.argv, environment);
    },
  };
}
