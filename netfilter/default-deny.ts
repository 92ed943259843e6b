import type { Environment } from "../runtime/environment.ts";
import type { Logger } from "../runtime/log.ts";
import { addressFamilies } from "./families.ts";
import { Iptables, withEach } from "./iptables.ts";

/**
 * A guest image may start with this rule, so that nobody reaches a pod whose mesh proxy does not run yet. Contrast's own
 * images put it first into the chain of the legacy backend; where other ones put it, it is the same rule.
 */
const DENY = "INPUT -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP";

/**
 * Removes that rule wherever it stands, and logs what was found.
 *
 * @throws NetfilterError where none of a family's backends could look
 */
export async function liftDefaultDeny(environment: Environment, log: Logger): Promise<void> {
  const lifted: string[] = [];
  const unseen: string[] = [];
  for (const family of await addressFamilies()) {
    const errors = await withEach(await Iptables.find(family, environment), async (backend) => {
      let hadRule = false;
      while (await backend.remove("filter", DENY)) hadRule = true;
      if (hadRule) lifted.push(backend.name);
    });
    unseen.push(...errors.map(({ where, got }) => `${where}: ${got}`));
  }
  log.info({ lifted, unseen }, lifted.length > 0 ? "the guest's default deny is lifted" : "no default deny was seen");
}
