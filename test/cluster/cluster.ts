import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, inject, test } from "vitest";
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

/** Starts the cluster where no test has asked for it before. @returns the folder of the release whose images it has */
export async function releaseOf(): Promise<string> {
  const socketPath = inject("cluster");
  if (socketPath === undefined) return "";
  const [response] = (await once(get({ socketPath }), "response")) as [IncomingMessage];
  const answer = await text(response);
  if (response.statusCode !== 200) throw new Error(`the cluster did not start: ${answer}`);
  return answer;
}
