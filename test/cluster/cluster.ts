import { join } from "node:path";
import { describe, test } from "vitest";
import { cacheOf, binOf, isBuilt } from "../../cluster/build.ts";
import { layoutOf } from "../../cluster/layout.ts";

/** The real Kubernetes of one node that `npm run cluster` starts, for tests. */

const cache = cacheOf(join(import.meta.dirname, "../.."));

/** Why there is none here, or undefined. */
export const NO_CLUSTER = whyNot();

export const LAYOUT = layoutOf(binOf(cache));

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can make network namespaces and pods";
  if (!isBuilt(cache)) return "Kubernetes is not built; npm run cluster -- --build does that where there is Go";
  return undefined;
}

/** Tests on it, one after the other; skipped by name where there is none. */
export function describeOnCluster(name: string, tests: () => void): void {
  if (NO_CLUSTER === undefined) describe(`cluster: ${name}`, { timeout: 180_000 }, tests);
  else test.skip(`cluster: ${name}: ${NO_CLUSTER}`);
}
