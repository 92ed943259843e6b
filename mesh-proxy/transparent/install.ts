import type { Environment } from "../../runtime/environment.ts";
import { addressFamilies, type Family } from "../../netfilter/families.ts";
import { lookAt } from "../../netfilter/backends.ts";
import { Iptables, missing } from "../../netfilter/iptables.ts";
import { chainLines, closedLines, type IngressPlan, JUMP, removalLines, TABLE } from "./rules.ts";

/**
 * Makes the rules those of the plan, whatever there was before, each family in one commit.
 *
 * @returns what holds them: one backend for each family that the pod has
 * @throws NetfilterError; every family whose rules could not be made is then closed, as far as iptables can
 */
export async function installRules(
  families: readonly Family[],
  plan: IngressPlan,
  environment: Environment,
): Promise<string[]> {
  const errors: unknown[] = [];
  const names: string[] = [];
  for (const family of families) {
    try {
      names.push(await install(family, plan, environment));
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return names;
}

async function install(family: Family, plan: IngressPlan, environment: Environment): Promise<string> {
  const backends = [...(await Iptables.installed(family, environment)).values()];
  if (backends.length === 0) throw missing(family, "nft", environment);
  try {
    return await firstToTake(backends, (hasJump) => chainLines(family, plan, hasJump));
  } catch (error) {
    await firstToTake(backends, closedLines).catch(() => {});
    throw error;
  }
}

/** @throws NetfilterError, that of the backend which the image prefers */
async function firstToTake(backends: readonly Iptables[], lines: (hasJump: boolean) => string[]): Promise<string> {
  const errors: unknown[] = [];
  for (const backend of backends) {
    try {
      await backend.restore(TABLE, lines((await backend.list(TABLE)).includes(`-A ${JUMP}`)));
      return backend.name;
    } catch (error) {
      errors.push(error);
    }
  }
  throw errors[0];
}

/**
 * Removes the rules. From then on every port of the pod is open to everybody.
 *
 * @returns the backends that had them
 * @throws NetfilterError
 */
export async function removeRules(environment: Environment): Promise<string[]> {
  const removed: string[] = [];
  for (const family of await addressFamilies()) {
    const { seen } = await lookAt(family, TABLE, environment);
    for (const { backend, rules } of seen) {
      if (!rules.includes(`-A ${JUMP}`)) continue;
      await backend.restore(TABLE, removalLines);
      removed.push(backend.name);
    }
  }
  return removed;
}
