import { join } from "node:path";
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
}

/** @param active undefined: no manifest is set yet */
export async function warningsOf(
  context: Context,
  active: ActiveDeployment | undefined,
  next: Manifest,
): Promise<string[]> {
  const changes = [lowered, fewerOwners, raised, overlapping, earlier].flatMap((kind) =>
    active === undefined ? [] : kind(active.manifest, next),
  );
  return [...(await strangeness(context, active)), ...changes];
}

/**
 * The first set needs nobody's leave, so a host may have been there first, with workloads of its own that learned the
 * secrets; or it may have taken the state away, so that this is a first set again.
 */
async function strangeness(context: Context, active: ActiveDeployment | undefined): Promise<string[]> {
  const known = await compareWithKnownRoot(context.workspace, active?.rootCa);
  if (known === "another") {
    return [
      `${join(context.workspace, FILES.rootCa)} belongs to another deployment: the Coordinator ` +
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

/** The window is open for who has a key of the generation before, too. */
function overlapping(active: Manifest, next: Manifest): string[] {
  if (next.meshCaOverlapMs <= active.meshCaOverlapMs) return [];
  return [
    "the manifest raises $.MeshCAOverlap: pods that renew accept the certificates of before for that much longer; " +
      "--revoke ends them",
  ];
}
