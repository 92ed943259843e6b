import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { RemoteError } from "../../channel/error.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { callDeadline, type Coordinator } from "../coordinator.ts";
import type { Context } from "../context.ts";
import { type AttestedHistory, attestedHistory } from "../../manifest/attested-history.ts";
import { type Pin, replacedRoots } from "./pin.ts";
import { generationsOf } from "../../manifest/generations.ts";
import type { ActiveDeployment } from "./warnings.ts";

/** The history of a Coordinator that has proven itself, with what else it says of what is in force. */
export interface ActiveHistory extends AttestedHistory {
  /** PEM. */
  readonly rootCa: string;
  /** Every policy that a manifest of the history lists. */
  readonly policies: readonly Uint8Array[];
}

/** @returns undefined where there is none yet @throws HistoryError */
export async function activeHistory(context: Context, coordinator: Coordinator): Promise<ActiveHistory | undefined> {
  try {
    const response = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    return { ...attestedHistory(response), rootCa: response.rootCaCert, policies: response.policies };
  } catch (error) {
    if (error instanceof RemoteError && error.code === "no_manifest") return undefined;
    throw error;
  }
}

/** @returns `digest`: SHA-256 of the manifest in force, hex */
export function deploymentOf(
  active: ActiveHistory,
  pin: Pin | undefined,
): ActiveDeployment & { readonly digest: string } {
  const { steps, rootCa } = active;
  const bytes = manifestInForce(active);
  const manifest = parseManifest(bytes);
  const replaced = replacedRoots(pin, active);
  return {
    manifest,
    generation: generationsOf(steps).manifests.length,
    rootCa,
    replacedRoots: replaced,
    digest: sha256Hex(bytes),
  };
}

/** Its bytes. */
export function manifestInForce({ steps }: Pick<ActiveHistory, "steps">): Uint8Array {
  return steps.at(-1)?.manifest ?? Buffer.alloc(0);
}
