import type { Environment } from "../runtime/environment.ts";
import { lookAt, tryToLook } from "./backends.ts";
import { NetfilterError } from "./error.ts";
import { addressFamilies, type Family } from "./families.ts";
import { type Iptables, missing } from "./iptables.ts";
import { breakSeal } from "./seal.ts";
import { type Chains, chains, HOOKS, installLines, printed, removalLines, staticRules, TABLE } from "./static-rules.ts";

/** What came out of it, of the address families that were to be filtered. */
export interface StaticRules {
  /** The backends that hold the rules, at least one for each family. */
  readonly backends: readonly string[];
  /** Whether every family was closed before, by these same rules. */
  readonly heldBefore: boolean;
  /** IPv6, where it is off on every interface and can't be filtered. */
  readonly off: readonly Family[];
}

/**
 * Makes the rules for both families, and reads them back. Each backend that has rules gets them: what another one drops,
 * such as a guest's default deny, none could let in. Rules that are there already are left alone; others are replaced in
 * one commit. There is no moment without them.
 *
 * @param openPorts of TCP, which are open to everybody
 * @throws NetfilterError where a family can't be filtered, or a backend that may have rules can't be looked at; those
 *   families that could be filtered are then closed
 */
export async function installStaticRules(openPorts: readonly number[], environment: Environment): Promise<StaticRules> {
  const families = await addressFamilies();
  const backends: string[] = [];
  const off: Family[] = [];
  const errors: unknown[] = [];
  let heldBefore = true;
  for (const family of ["IPv4", "IPv6"] as const) {
    try {
      const made = await installIn(family, staticRules(family, openPorts), environment);
      backends.push(...made.backends);
      heldBefore &&= made.heldBefore;
    } catch (error) {
      // Where it is off nobody has an address of it, and turning it on takes a privilege.
      if (families.includes(family)) errors.push(error);
      else off.push(family);
    }
  }
  if (errors.length > 0) throw errors[0];
  return { backends, heldBefore, off };
}

async function installIn(
  family: Family,
  rules: Chains,
  environment: Environment,
): Promise<{ readonly backends: string[]; readonly heldBefore: boolean }> {
  const { seen, unused, failures: unseen } = await tryToLook(family, TABLE, environment);
  const backends: string[] = [];
  // An error is one, unless the backend lets everything pass and another one holds the rules.
  const errors: unknown[] = [...unseen];
  const tolerable: unknown[] = [];
  for (const { backend, rules: before } of seen) {
    try {
      if (!holds(before, rules)) await install(backend, before, rules);
      backends.push(backend.name);
    } catch (error) {
      (isEmpty(before) ? tolerable : errors).push(error);
    }
  }
  if (backends.length === 0) {
    try {
      if (unused === undefined) throw missing(family, "legacy", environment);
      // Of a table that can't be made the list says why.
      await install(unused, await unused.list(TABLE), rules);
      backends.push(unused.name);
    } catch (error) {
      errors.push(...tolerable, error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return { backends, heldBefore: seen.some(({ rules: before }) => holds(before, rules)) };
}

async function install(backend: Iptables, before: readonly string[], rules: Chains): Promise<void> {
  await backend.restore(TABLE, installLines(rules, jumpsIn(before)));
  if (holds(await backend.list(TABLE), rules)) return;
  throw new NetfilterError("rules_differ", "the packet filter does not hold the rules that it was given", {
    where: backend.name,
    hint: "see iptables -S of that backend; nothing else may change the packet filter of the pod",
  });
}

function jumpsIn(lines: readonly string[]): { CONTRAST_INPUT: boolean; CONTRAST_FORWARD: boolean } {
  return {
    CONTRAST_INPUT: lines.includes("-A INPUT -j CONTRAST_INPUT"),
    CONTRAST_FORWARD: lines.includes("-A FORWARD -j CONTRAST_FORWARD"),
  };
}

/** Whether a table lets everything pass: it has its built-in chains alone, and their policy is to accept. */
function isEmpty(lines: readonly string[]): boolean {
  return lines.every((line) => /^-P [A-Z]+ ACCEPT$/.test(line));
}

/** Whether the chains have these rules and no other, and nothing is asked before them. */
function holds(lines: readonly string[], rules: Chains): boolean {
  return chains(rules).every(([chain, wanted]) => {
    const hook = HOOKS[chain];
    const first = lines.find((line) => line.startsWith(`-A ${hook} `));
    const own = lines.filter((line) =>
      [`-N ${chain}`, `-A ${chain}`].some((start) => `${line} `.startsWith(`${start} `)),
    );
    return first === `-A ${hook} -j ${chain}` && own.join("\n") === printed(chain, wanted).join("\n");
  });
}

/**
 * Removes the rules. From then on every port of the pod is open to everybody.
 *
 * @returns the backends that had them
 * @throws NetfilterError
 */
export async function removeStaticRules(environment: Environment): Promise<string[]> {
  await breakSeal(environment);
  const removed: string[] = [];
  for (const family of await addressFamilies()) {
    const { seen } = await lookAt(family, TABLE, environment);
    for (const { backend, rules } of seen) {
      const lines = removalLines(jumpsIn(rules));
      if (lines.length === 0) continue;
      await backend.restore(TABLE, lines);
      removed.push(backend.name);
    }
  }
  return removed;
}
