import { CONTAINER } from "./rules/container.ts";
import { ENVIRONMENT } from "./rules/environment.ts";
import { LIFE_CYCLE } from "./rules/life-cycle.ts";
import { MOUNTS } from "./rules/mounts.ts";
import { NETWORK } from "./rules/network.ts";
import { REFUSALS } from "./rules/refusals.ts";
import { REQUESTS } from "./rules/requests.ts";
import { STORAGES } from "./rules/storages.ts";

/**
 * The rules of every policy, in Rego, for the agent inside the VM (kata-containers, src/agent/policy), whose engine is
 * regorus: it takes Rego of before 1.0, knows few built-in functions, and no comprehension in the head of a rule. Each
 * request of the host is asked for by the name of its message; what no rule allows is refused. `policy_data` follows them.
 */
export const POLICY_RULES = [
  `package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in
`,
  REQUESTS,
  LIFE_CYCLE,
  CONTAINER,
  ENVIRONMENT,
  MOUNTS,
  STORAGES,
  NETWORK,
  REFUSALS,
].join("\n");
