import { join } from "node:path";
import { toHex } from "../../bytes/encode.ts";
import { loweredMinimums } from "../../manifest/lowered-minimums.ts";
import { encodeTime, type Manifest } from "../../manifest/manifest.ts";
import type { Context } from "../context.ts";
import { compareWithKnownRoot } from "./known-root.ts";
import { FILES } from "./workspace.ts";

/** What a workload owner should know before a manifest is set, though it may be meant. */

/** What a Coordinator says of itself before `set`. */
export interface ActiveDeployment {
  readonly manifest: Manifest;
  readonly generation: number;
  /** PEM. */
  readonly rootCa: string;
  /** The root CA keys that rekeys replaced since what this workspace has pinned, hex. */
  readonly replacedRoots: ReadonlySet<string>;
}

/** @param active undefined: no manifest is set yet @param rekey whether it comes with a new seed */
export async function warningsOf(
  context: Context,
  active: ActiveDeployment | undefined,
  next: Manifest,
  rekey = false,
): Promise<string[]> {
  const changes = [lowered, fewerOwners, raised, overlapping, earlier, rekey ? renewed : reshared].flatMap((kind) =>
    active === undefined ? [] : kind(active.manifest, next),
  );
  return [...(await strangeness(context, active)), ...changes];
}

/**
 * The first set needs nobody's leave, so a host may have been there first, with workloads of its own that learned the
 * secrets; or it may have taken the state away, so that this is a first set again.
 */
async function strangeness(context: Context, active: ActiveDeployment | undefined): Promise<string[]> {
  const known = await compareWithKnownRoot(context.workspace, active?.rootCa, active?.replacedRoots ?? new Set());
  if (known === "another") {
    return [
      `${join(context.workspace, FILES.rootCa)} belongs to another deployment: the Coordinator ` +
        `${active === undefined ? "has no manifest" : "has another root CA"}, so all secrets are new`,
    ];
  }
  if (active === undefined || known === "same" || known === "replaced" || (await isVerified(context, active)))
    return [];
  return [
    `the Coordinator has had ${active.generation} ${active.generation === 1 ? "manifest" : "manifests"} that this ` +
      "workspace has not seen: read them below verify/ after `contrast verify`, before you trust its secrets",
  ];
}

async function isVerified({ workspace }: Context, { rootCa, replacedRoots }: ActiveDeployment): Promise<boolean> {
  const knowledge = await compareWithKnownRoot(join(workspace, FILES.verify), rootCa, replacedRoots);
  return knowledge === "same" || knowledge === "replaced";
}

function lowered(active: Manifest, next: Manifest): string[] {
  return loweredMinimums(active, next).map(
    ({ where, from, to }) => `the manifest lowers ${where} from ${from} to ${to}`,
  );
}

function fewerOwners({ workloadOwnerThreshold: from }: Manifest, { workloadOwnerThreshold: to }: Manifest): string[] {
  return to < from ? [`the manifest lowers $.WorkloadOwnerThreshold from ${from} to ${to}`] : [];
}

/** A clock that the manifest before refused would be right by this one. */
function earlier({ notBefore: before }: Manifest, { notBefore: after }: Manifest): string[] {
  if (before === undefined || (after !== undefined && after >= before)) return [];
  const to = after === undefined ? "none" : encodeTime(after);
  return [
    `the manifest moves $.NotBefore back from ${encodeTime(before)} to ${to}: \`contrast generate\` makes it anew`,
  ];
}

function raised(active: Manifest, next: Manifest): string[] {
  if (next.certificateLifetimeMs <= active.certificateLifetimeMs) return [];
  return [
    "the manifest raises $.CertificateLifetime: clients accept a removed pod for that much longer if they " +
      `trust ${FILES.rootCa}`,
  ];
}

const NOBODY = "the manifest names no seed share owner: nobody can recover the Coordinator";

function reshared(active: Manifest, next: Manifest): string[] {
  const owners = ({ seedshareOwnerPubKeys: keys }: Manifest): string[] => keys.map(toHex).sort();
  const [before, after] = [owners(active), owners(next)];
  if (before.join() === after.join() && active.seedshareThreshold === next.seedshareThreshold) return [];
  return [
    "the manifest has other seed share owners or another threshold. The seed stays: " +
      `whoever had ${active.seedshareThreshold} of the shares before keeps it for ever; \`contrast rekey\` makes a new one`,
    ...(after.length === 0 ? [NOBODY] : []),
  ];
}

function renewed(_active: Manifest, { workloadSecretOverlapMs, seedshareOwnerPubKeys }: Manifest): string[] {
  const readable =
    workloadSecretOverlapMs === 0
      ? "the earlier ones can't be read any more, because the manifest has no $.WorkloadSecretOverlap"
      : `the earlier ones can be read for ${workloadSecretOverlapMs / 60_000} minutes more`;
  return [
    `a rekey makes all workload secrets new; ${readable}`,
    ...(seedshareOwnerPubKeys.length === 0 ? [NOBODY] : []),
  ];
}

/** The window is open for who has a key of the generation before, too. */
function overlapping(active: Manifest, next: Manifest): string[] {
  if (next.meshCaOverlapMs <= active.meshCaOverlapMs) return [];
  return [
    "the manifest raises $.MeshCAOverlap: pods that renew accept the certificates of before for that much longer; " +
      "--revoke ends them",
  ];
}
