import { createHash } from "node:crypto";
import { join } from "node:path";
import { UserAPI } from "../../api/userapi_pb.ts";
import { encodePermit } from "../../api/permit.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { EXIT } from "../../runtime/exit.ts";
import { callDeadline, connect, type Coordinator } from "../coordinator.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { activeHistory, deploymentOf } from "../workspace/active-history.ts";
import { detachedSignature } from "../workspace/detached-signature.ts";
import { carriedLeave, ownLeave } from "../workspace/leave.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { writeNewManifest } from "../workspace/new-manifest.ts";
import { pendingFacts, pendingOf, requireSameChange } from "../workspace/pending-change.ts";
import { overlapOf } from "../workspace/overlap.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { readPin, requireSameDeployment } from "../workspace/pin.ts";
import { documentsOf, predecessorsIn, requireSamePolicies } from "../workspace/policy-match.ts";
import { transitionOf, verifiedTransition } from "../workspace/transition.ts";
import { warningsOf } from "../workspace/warnings.ts";
import { FILES, ownerKey } from "../workspace/workspace.ts";
import { type Restarts, restartsOf } from "./restarts.ts";

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
 * `contrast set`
 *
 * @returns the exit code
 */
export function set(context: Context, paths: readonly string[], options: SetOptions): Promise<number> {
  return makeActive(context, paths, options);
}

/** Of the root CA that a rekey brings: SHA-256 of its SubjectPublicKeyInfo. */
export type NewRootKey = (coordinator: Coordinator) => Promise<Uint8Array>;

/**
 * Makes a manifest the active one, after the Coordinator has proven itself against it. Every change but the first goes with
 * owners' signatures over it, which stay in the history. One that has too few of them is left pending, but for a rekey.
 *
 * @param rekey undefined: the seed stays
 * @returns the exit code
 */
export async function makeActive(
  context: Context,
  paths: readonly string[],
  options: SetOptions,
  rekey?: NewRootKey,
): Promise<number> {
  const atHand = await readManifest(context, options.manifest);
  const { bytes, manifest } = atHand;
  const policies = await collectPolicies(paths);
  const predecessors = predecessorsIn(policies, atHand);
  requireSamePolicies(policies, atHand, predecessors);
  const expected = await expectedTransition(context, options);
  const pin = await readPin(context);
  const detached = await detachedSignatures(context, options);
  const ownKey = onlyKey(options);
  // Who carries a signature need not be an owner: the connection is then made with a throw-away key.
  const keys = detached === undefined ? await ownerKey(context, ownKey, FILES.workloadOwnerKey) : undefined;

  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const active = await activeHistory(context, coordinator);
    if (pin !== undefined) await requireSameDeployment(context, pin, active);
    else if (active !== undefined) requireNoFormerHolders(active.steps, []);
    const ofBefore = documentsOf(predecessors, active?.policies ?? [], policies, atHand);
    const newRootKey = await rekey?.(coordinator);
    const isRekey = newRootKey !== undefined;
    const deployment = active && deploymentOf(active, pin);
    const warnings = await warningsOf(context, deployment, manifest, isRekey);
    for (const hash of predecessors) {
      warnings.push(`the manifest still lets the Coordinators of policy ${hash} run, which no given file has`);
    }
    for (const warning of warnings) context.warn(`warning: ${warning}`);
    const where = ownKey ?? join(context.workspace, FILES.workloadOwnerKey);
    const followed = { active, newRootKey };
    const leave =
      detached === undefined
        ? ownLeave(followed, bytes, keys, where)
        : carriedLeave(followed, bytes, detached, { pin, where: options.signature?.join(", ") });
    const previous = active && Buffer.from(active.latest, "hex");
    const latestTransition = expected ?? previous;
    const response = await coordinator.call(
      UserAPI.method.setManifest,
      {
        manifest: bytes,
        policies: [...new Map(policies.map(({ hash, document }) => [hash, document])).values(), ...ofBefore],
        ...(latestTransition === undefined ? {} : { latestTransition }),
        ...leave,
        revoke: options.revoke === true,
        leavePending: !isRekey,
      },
      callDeadline(context),
      // An owner's own connection may send so much anyway.
      detached && encodePermit({ manifestDigest: createHash("sha256").update(bytes).digest(), ...leave }),
    );
    const insecure = coordinator.server?.claims.insecure === true;
    if (response.pending !== undefined) {
      const pending = pendingOf(response.pending, active);
      requireSameChange(pending, sha256Hex(bytes));
      printResult(context, insecure, {
        result: "not set: the change waits for more owners' signatures",
        coordinator: options.coordinator,
        ...pendingFacts(pending),
        next: "other owners run `contrast pending sign`",
        ...(context.format === "json" ? { warnings } : {}),
      });
      return EXIT.pending;
    }
    const written = await writeNewManifest(context, coordinator, response, bytes, active);
    printResult(context, insecure, {
      result: isRekey ? "rekeyed" : "manifest set",
      coordinator: options.coordinator,
      transition: Buffer.from(response.latestTransition).toString("hex"),
      written,
      ...overlapOf(response),
      ...(newRootKey === undefined ? {} : { "root CA key": toHex(newRootKey) }),
      ...(deployment === undefined
        ? {}
        : followUp(restartsOf(policies, deployment.manifest, manifest, isRekey), isRekey)),
      ...(context.format === "json" ? { warnings } : {}),
    });
    return EXIT.done;
  } finally {
    coordinator.close();
  }
}

/** What is to be done after every `set` but the first. */
function followUp(
  { restart, renewed, changed }: Restarts,
  isRekey: boolean,
): Record<string, readonly string[] | string> {
  const steps = [
    ...(changed.length === 0 ? [] : ["apply what changed"]),
    // Where nothing runs, too, as far as these files say.
    ...(restart.length === 0 && (changed.length > 0 || renewed.length > 0)
      ? []
      : [changed.length === 0 && renewed.length === 0 ? "restart the workloads" : "restart the other workloads"]),
  ];
  const why = isRekey ? "root CA, mesh CA and workload secrets are new" : "the mesh has a new CA";
  return {
    ...(restart.length === 0 ? {} : { restart }),
    ...(renewed.length === 0 ? {} : { renewed }),
    ...(changed.length === 0 ? {} : { changed }),
    next: `${steps.length === 0 ? "nothing: all pods renew their certificates" : steps.join(", ")}: ${why}`,
  };
}

/** The transition that must still be the latest one: as told, or as the last `verify` saw it. */
async function expectedTransition(
  context: Context,
  { latestTransition, atomic }: SetOptions,
): Promise<Uint8Array | undefined> {
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
