import type { Environment } from "../runtime/environment.ts";
import type { Logger } from "../runtime/log.ts";
import { lookAt } from "./backends.ts";
import { addressFamilies } from "./families.ts";

/**
 * A guest image may start with this rule, so that nobody reaches a pod whose mesh proxy does not run yet. Contrast's own
 * images put it first into the chain of the legacy backend; where other ones put it, it is the same rule.
 */
const DENY = "INPUT -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP";
const TABLE = "filter";

/**
 * Removes that rule wherever it stands, and logs what was found.
 *
 * @throws NetfilterError where a table that may have it could not be looked at
 */
export async function liftDefaultDeny(environment: Environment, log: Logger): Promise<void> {
  const lifted: string[] = [];
  for (const family of await addressFamilies()) {
    const { seen } = await lookAt(family, TABLE, environment);
    for (const { backend } of seen) {
      let hadRule = false;
      while (await backend.remove(TABLE, DENY)) hadRule = true;
      if (hadRule) lifted.push(backend.name);
    }
  }
  if (lifted.length > 0) log.info({ lifted }, "the guest's default deny is removed");
  else log.info("the guest has no default deny");
}
