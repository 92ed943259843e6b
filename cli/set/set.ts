import { createHash, createPublicKey } from "node:crypto";
import { join } from "node:path";
import { type SetManifestResponse, UserAPI } from "../../api/userapi_pb.ts";
import { encodePermit } from "../../api/permit.ts";
import { RemoteError } from "../../channel/error.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { HistoryError, requireHistory } from "../../manifest/history.ts";
import { encodeTime, parseManifest } from "../../manifest/manifest.ts";
import { spki } from "../../pki/keys.ts";
import { type AttestedHistory, attestedHistory, keyOf, readTransition } from "../workspace/attested-history.ts";
import { callDeadline, connect, type Coordinator } from "../coordinator.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { requireSamePolicies } from "../workspace/policy-match.ts";
import { carriedLeave, ownLeave } from "./leave.ts";
import { encodePin, type Pin, readPin, requireSameDeployment } from "../workspace/pin.ts";
import { encodeSeedSharesFile } from "../workspace/seed-shares-file.ts";
import { type Restarts, restartsOf } from "./restarts.ts";
import { type ActiveDeployment, warningsOf } from "./warnings.ts";
import { transitionOf, verifiedTransition } from "../workspace/transition.ts";
import { FILES, ownerKey, readIfPresent, readInput, writeOutputs } from "../workspace/workspace.ts";

export interface SetOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  /** With `signature` they may be public keys, one for each. */
  readonly workloadOwnerKey?: readonly string[];
  readonly signature?: readonly string[];
  readonly atomic?: boolean;
  readonly latestTransition?: string;
  readonly revoke?: boolean;
}

/**
 * `contrast set`: makes a manifest the active one, after the Coordinator has proven itself against it. Every change but
 * the first goes with an owner's signature over it, which stays in the history.
 */
export async function set(context: Context, paths: readonly string[], options: SetOptions): Promise<void> {
  const atHand = await readManifest(context, options.manifest);
  const { bytes, manifest } = atHand;
  const policies = await collectPolicies(paths);
  requireSamePolicies(policies, atHand);
  const expected = await expectedTransition(context, options);
  const pin = await readPin(context);
  const detached = await detachedSignatures(context, options);
  const ownKey = onlyKey(options);
  // Who carries a signature need not be an owner: the connection is then made with a throw-away key.
  const keys = detached === undefined ? await ownerKey(context, ownKey, FILES.workloadOwnerKey) : undefined;

  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const active = await activeHistory(context, coordinator);
    if (pin !== undefined) requireSameDeployment(context, pin, active);
    const warnings = await warningsOf(context, active && deploymentOf(active), manifest);
    for (const warning of warnings) context.warn(`warning: ${warning}`);
    const where = ownKey ?? join(context.workspace, FILES.workloadOwnerKey);
    const leave =
      detached === undefined
        ? ownLeave(active, bytes, keys, where)
        : carriedLeave(active, bytes, detached, { pin, where: options.signature?.join(", ") });
    const previous = active && Buffer.from(active.latest, "hex");
    const latestTransition = expected ?? previous;
    const response = await coordinator.call(
      UserAPI.method.setManifest,
      {
        manifest: bytes,
        policies: [...new Map(policies.map(({ hash, document }) => [hash, document])).values()],
        ...(latestTransition === undefined ? {} : { latestTransition }),
        ...leave,
        revoke: options.revoke === true,
      },
      callDeadline(context),
      // An owner's own connection may send so much anyway.
      detached && encodePermit({ manifestDigest: createHash("sha256").update(bytes).digest(), ...leave }),
    );
    const shares = response.seedShares && encodeSeedSharesFile(response.seedShares);
    const files = {
      ...(shares === undefined || (await isWritten(context, shares)) ? {} : { [FILES.seedShares]: shares }),
      [FILES.rootCa]: response.rootCaCert,
      [FILES.meshCa]: response.meshCaCert,
      [FILES.pin]: encodePin(pinOf(response, bytes, active)),
    };
    await writeOutputs(context.workspace, files);
    printResult(context, coordinator.server?.claims.insecure === true, {
      result: "manifest set",
      coordinator: options.coordinator,
      transition: Buffer.from(response.latestTransition).toString("hex"),
      written: Object.keys(files).map((name) => join(context.workspace, name)),
      ...overlapOf(response),
      ...(active === undefined ? {} : followUp(restartsOf(policies, deploymentOf(active).manifest, manifest))),
      ...(context.format === "json" ? { warnings } : {}),
    });
  } finally {
    coordinator.close();
  }
}

/** Whether certificates of before are still trusted. */
function overlapOf({ previousMeshCaUntil: until, overlapRefused }: SetManifestResponse): Record<string, string> {
  if (until > 0n) return { earlierCertificatesUntil: encodeTime(new Date(Number(until) * 1000)) };
  return overlapRefused === "" ? {} : { earlierCertificatesEnded: overlapRefused };
}

/** What is to be done after every `set` but the first. */
function followUp({ restart, changed }: Restarts): Record<string, readonly string[] | string> {
  return {
    ...(restart.length === 0 ? {} : { restart }),
    ...(changed.length === 0 ? {} : { changed }),
    next: `${changed.length === 0 ? "restart the workloads" : "apply what changed, restart the other workloads"}: the mesh has a new CA`,
  };
}

/** What the Coordinator answered is the step that was asked for, in the history that was there before. @throws HistoryError */
function pinOf(response: SetManifestResponse, manifest: Uint8Array, before: AttestedHistory | undefined): Pin {
  const transition = readTransition(response.transitionRecord, response.latestTransition, "the new manifest");
  requireHistory([...(before?.steps ?? []), { transition, manifest }]);
  const [rootKey, meshKey] = [keyOf(response.rootCaCert, "root CA"), keyOf(response.meshCaCert, "mesh CA")];
  if (rootKey !== transition.rootKey) {
    throw new HistoryError("broken_history", "the root CA is not the one of the history", {
      got: rootKey,
      want: transition.rootKey,
    });
  }
  return { transition: transition.digest, rootKey, meshKey };
}

/** The transition that must still be the latest one: as told, or as the last `verify` saw it. */
async function expectedTransition(
  context: Context,
  { latestTransition, atomic }: SetOptions,
): Promise<Buffer | undefined> {
  if (latestTransition !== undefined) return transitionOf(latestTransition);
  return atomic === true ? verifiedTransition(context) : undefined;
}

/**
 * What `contrast sign` or key stores made, and whose keys they are said to be by.
 *
 * @throws CliError usage, unreadable_file, malformed_file
 */
async function detachedSignatures(
  context: Context,
  { signature: files = [], workloadOwnerKey: given = [] }: SetOptions,
): Promise<readonly ChangeSignature[] | undefined> {
  if (files.length === 0) return undefined;
  const keys = given.length === 0 ? [join(context.workspace, FILES.workloadOwnerKey)] : given;
  if (keys.length !== files.length) {
    throw new CliError("usage", "each signature needs the key that it was made with", {
      where: "--workload-owner-key",
      got: `${files.length} of --signature, ${given.length} of --workload-owner-key`,
      want: "as many of one as of the other, in the same order",
    });
  }
  return Promise.all(files.map((file, index) => detachedSignature(file, keys[index] ?? "")));
}

async function detachedSignature(file: string, path: string): Promise<ChangeSignature> {
  const signature = await readInput(file, "the signature");
  const pem = await readInput(path, "the key of the signature");
  try {
    return { publicKey: spki(createPublicKey(pem)), signature };
  } catch {
    // The parser's error may quote the file, and the file may be a private key.
    throw new CliError("malformed_file", "the file is no key", { where: path, want: "a public or private key, PEM" });
  }
}

/** @throws CliError usage */
function onlyKey({ signature, workloadOwnerKey: keys = [] }: SetOptions): string | undefined {
  if (signature !== undefined || keys.length < 2) return keys[0];
  throw new CliError("usage", "without --signature one owner signs: the one who sets", {
    where: "--workload-owner-key",
    got: `${keys.length} keys`,
    want: "one",
    hint: "the other owners sign by `contrast pending sign`, or by `contrast sign`",
  });
}

/** @returns undefined where there is none yet @throws HistoryError */
async function activeHistory(context: Context, coordinator: Coordinator): Promise<ActiveHistory | undefined> {
  try {
    const response = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    return { ...attestedHistory(response), rootCa: response.rootCaCert };
  } catch (error) {
    if (error instanceof RemoteError && error.code === "no_manifest") return undefined;
    throw error;
  }
}

interface ActiveHistory extends AttestedHistory {
  /** PEM. */
  readonly rootCa: string;
}

function deploymentOf({ steps, rootCa }: ActiveHistory): ActiveDeployment {
  return { manifest: parseManifest(steps.at(-1)?.manifest ?? Buffer.alloc(0)), generation: steps.length, rootCa };
}

async function isWritten(context: Context, shares: string): Promise<boolean> {
  const before = await readIfPresent(join(context.workspace, FILES.seedShares), "the seed shares");
  return before?.equals(Buffer.from(shares)) === true;
}
