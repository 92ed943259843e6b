import type { Environment } from "../runtime/environment.ts";
import { lookAt } from "./backends.ts";
import { TABLE } from "./static-rules.ts";

/**
 * A note in the network namespace, which lives as long as the rules: when they were made, nobody had been reached. It is
 * an empty chain, that nothing leads to. Who finds the rules without it has to look for himself, however often he is
 * started.
 */
const SEAL = "CONTRAST_UNREACHED";

/** @throws NetfilterError */
export async function isSealed(environment: Environment): Promise<boolean> {
  const { seen } = await lookAt("IPv4", TABLE, environment);
  return seen.some(({ rules }) => rules.includes(`-N ${SEAL}`));
}

/** @throws NetfilterError */
export async function seal(environment: Environment): Promise<void> {
  const { seen } = await lookAt("IPv4", TABLE, environment);
  for (const { backend } of seen) await backend.restore(TABLE, [`:${SEAL} - [0:0]`]);
}

/** @throws NetfilterError */
export async function breakSeal(environment: Environment): Promise<void> {
  const { seen } = await lookAt("IPv4", TABLE, environment);
  for (const { backend, rules } of seen) {
    if (rules.includes(`-N ${SEAL}`)) await backend.restore(TABLE, [`-X ${SEAL}`]);
  }
}
