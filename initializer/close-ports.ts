import { installStaticRules } from "../netfilter/install-static.ts";
import { requireUnreached } from "../netfilter/reached.ts";
import { isSealed, seal } from "../netfilter/seal.ts";
import type { Environment } from "../runtime/environment.ts";
import type { Logger } from "../runtime/log.ts";

/**
 * Installs the static rules of the pod. They stay when this program ends, however it ends.
 *
 * @param openPorts of TCP, which are open to everybody
 * @throws NetfilterError where a family can't be filtered, or where somebody got into the pod before
 */
export async function closePorts(openPorts: readonly number[], environment: Environment, log: Logger): Promise<void> {
  const { backends, heldBefore, off } = await installStaticRules(openPorts, environment);
  if (off.length > 0) log.info({ off }, "these address families are off in this pod and can't be filtered");
  log.info({ openPorts, backends }, "the pod's ports are closed, except to the mesh proxy");
  // Behind these rules the pod's own containers are reached, by each other and by the mesh proxy.
  if (heldBefore && (await isSealed(environment))) return;
  await requireUnreached();
  await seal(environment);
}
