import { join } from "node:path";
import { loweredMinimums } from "../manifest/lowered-minimums.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Context } from "./context.ts";
import { compareWithKnownRoot } from "./known-root.ts";
import { FILES } from "./workspace.ts";

/** What a workload owner should know before a manifest is set, though it may be meant. */

/** What a Coordinator says of itself before `set`. */
export interface ActiveDeployment {
  readonly manifest: Manifest;
  readonly generation: number;
  /** PEM. */
  readonly rootCa: string;
}

/** @param active undefined: no manifest is set yet */
export async function warningsOf(
  context: Context,
  active: ActiveDeployment | undefined,
  next: Manifest,
): Promise<string[]> {
  return [...(await strangeness(context, active)), ...(active === undefined ? [] : lowered(active.manifest, next))];
}

/**
 * The first set needs nobody's leave, so a host may have been there first, with workloads of its own that learned the
 * secrets; or it may have taken the state away, so that this is a first set again.
 */
async function strangeness(context: Context, active: ActiveDeployment | undefined): Promise<string[]> {
  const known = await compareWithKnownRoot(context.workspace, active?.rootCa);
  if (known === "another") {
    return [
      `${join(context.workspace, FILES.rootCa)} is of another deployment: the Coordinator ` +
        `${active === undefined ? "has no manifest" : "has another root CA"}, so all secrets are new`,
    ];
  }
  if (active === undefined || known === "same" || (await isVerified(context, active))) return [];
  return [
    `the Coordinator has had ${active.generation} ${active.generation === 1 ? "manifest" : "manifests"} that this ` +
      "workspace has not seen: read them below verify/ after `contrast verify`, before you trust its secrets",
  ];
}

async function isVerified({ workspace }: Context, { rootCa }: ActiveDeployment): Promise<boolean> {
  return (await compareWithKnownRoot(join(workspace, FILES.verify), rootCa)) === "same";
}

function lowered(active: Manifest, next: Manifest): string[] {
  return loweredMinimums(active, next).map(
    ({ where, from, to }) => `the manifest lowers ${where} from ${from} to ${to}`,
  );
}
