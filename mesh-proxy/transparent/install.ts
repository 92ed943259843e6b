import type { Environment } from "../../runtime/environment.ts";
import { addressFamilies, type Family } from "../../netfilter/families.ts";
import { Iptables, withEach } from "../../netfilter/iptables.ts";
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
  const backends = await Iptables.find(family, environment);
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
      await backend.restore(TABLE, lines(await backend.has(TABLE, JUMP)));
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
    await withEach(await Iptables.find(family, environment), async (backend) => {
      if (!(await backend.has(TABLE, JUMP))) return;
      await backend.restore(TABLE, removalLines);
      removed.push(backend.name);
    });
  }
  return removed;
}
