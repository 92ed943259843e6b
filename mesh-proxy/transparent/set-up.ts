import { addressFamilies } from "../../netfilter/families.ts";
import { liftDefaultDeny } from "../../netfilter/default-deny.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { Logger } from "../../runtime/log.ts";
import { installRules } from "./install.ts";
import { loadLibc } from "./libc.ts";
import { requireNetAdmin, restartWithoutCapabilities } from "./privileges.ts";
import type { IngressPlan } from "./rules.ts";
import { openTransparentSockets, printSockets } from "./sockets.ts";

/**
 * The part of the start that needs NET_ADMIN. Rules first, listeners next; then whatever else has to be there, and only
 * then may the world in. Where it fails, the ports stay closed: with rules and without a listener nothing is delivered.
 */
export interface SetUp {
  /**
   * Lifts the guest's default deny, gives all capabilities up and starts the program anew.
   *
   * @returns where the program was told to stop before that
   * @throws NetfilterError, MeshProxyError
   */
  readonly finish: (stop: AbortSignal) => Promise<void>;
}

/**
 * @param started how this program was started, and its environment
 * @throws NetfilterError, MeshProxyError
 */
export async function setUp(
  plan: IngressPlan,
  started: { readonly argv: readonly string[]; readonly environment: Environment },
  log: Logger,
): Promise<SetUp> {
  await requireNetAdmin();
  const families = await addressFamilies();
  if (!families.includes("IPv6")) log.info("IPv6 is off in this pod: no rules for it");
  const backends = await installRules(families, plan, started.environment);
  log.info({ backends }, "ingress rules are in effect");
  const libc = await loadLibc();
  const sockets = openTransparentSockets(libc, families);
  return {
    async finish(stop) {
      await liftDefaultDeny(started.environment, log);
      // A signal that came until now would be forgotten.
      if (stop.aborted) return;
      const environment = { ...started.environment, CONTRAST_INGRESS_SOCKETS: printSockets(sockets) };
      restartWithoutCapabilities(libc, started.argv, environment);
    },
  };
}
