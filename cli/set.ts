import { createPublicKey } from "node:crypto";
import { join } from "node:path";
import { UserAPI } from "../api/userapi_pb.ts";
import { RemoteError } from "../channel/error.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { spki } from "../pki/keys.ts";
import { callDeadline, connect, type Coordinator } from "./coordinator.ts";
import { CliError, type Context, printResult } from "./context.ts";
import { collectPolicies } from "./generate/policies.ts";
import { readManifest } from "./manifest-at-hand.ts";
import { requireSamePolicies } from "./policy-match.ts";
import { encodeSeedSharesFile } from "./seed-shares-file.ts";
import { type ActiveDeployment, warningsOf } from "./set-warnings.ts";
import { transitionOf, verifiedTransition } from "./transition.ts";
import { FILES, ownerKey, readIfPresent, readInput, writeOutputs } from "./workspace.ts";

export interface SetOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  /** With `signature` it may be a public key. */
  readonly workloadOwnerKey?: string;
  readonly signature?: string;
  readonly atomic?: boolean;
  readonly latestTransition?: string;
}

/** `contrast set`: makes a manifest the active one, after the Coordinator has proven itself against it. */
export async function set(context: Context, paths: readonly string[], options: SetOptions): Promise<void> {
  const atHand = await readManifest(context, options.manifest);
  const { bytes, manifest } = atHand;
  const policies = await collectPolicies(paths);
  requireSamePolicies(policies, atHand);
  const latestTransition = await expectedTransition(context, options);
  const signature = await detachedSignature(context, options);
  // Who carries a signature need not be an owner: the connection is then made with a throw-away key.
  const keys =
    signature === undefined ? await ownerKey(context, options.workloadOwnerKey, FILES.workloadOwnerKey) : undefined;

  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const active = await activeDeployment(context, coordinator);
    const warnings = await warningsOf(context, active, manifest);
    for (const warning of warnings) context.warn(`warning: ${warning}`);
    const response = await coordinator.call(
      UserAPI.method.setManifest,
      {
        manifest: bytes,
        policies: [...new Map(policies.map(({ hash, document }) => [hash, document])).values()],
        ...(latestTransition === undefined ? {} : { latestTransition }),
        ...(signature === undefined ? {} : { signature }),
      },
      callDeadline(context),
    );
    const shares = response.seedShares && encodeSeedSharesFile(response.seedShares);
    const files = {
      ...(shares === undefined || (await isWritten(context, shares)) ? {} : { [FILES.seedShares]: shares }),
      [FILES.rootCa]: response.rootCaCert,
      [FILES.meshCa]: response.meshCaCert,
    };
    await writeOutputs(context.workspace, files);
    printResult(context, coordinator.server?.claims.insecure === true, {
      result: "manifest set",
      coordinator: options.coordinator,
      transition: Buffer.from(response.latestTransition).toString("hex"),
      written: Object.keys(files).map((name) => join(context.workspace, name)),
      ...(active === undefined ? {} : { next: "restart the workloads: the mesh has a new CA" }),
      ...(context.format === "json" ? { warnings } : {}),
    });
  } finally {
    coordinator.close();
  }
}

/** The transition that must still be the latest one: as told, or as the last `verify` saw it. */
async function expectedTransition(
  context: Context,
  { latestTransition, atomic }: SetOptions,
): Promise<Buffer | undefined> {
  if (latestTransition !== undefined) return transitionOf(latestTransition);
  return atomic === true ? verifiedTransition(context) : undefined;
}

/** What `contrast sign` or a key store made, and whose key it is said to be by. */
async function detachedSignature(
  context: Context,
  options: SetOptions,
): Promise<{ readonly publicKey: Buffer; readonly signature: Buffer } | undefined> {
  if (options.signature === undefined) return undefined;
  const signature = await readInput(options.signature, "the signature");
  const path = options.workloadOwnerKey ?? join(context.workspace, FILES.workloadOwnerKey);
  const pem = await readInput(path, "the key of the signature");
  try {
    return { publicKey: spki(createPublicKey(pem)), signature };
  } catch {
    // The parser's error may quote the file, and the file may be a private key.
    throw new CliError("malformed_file", "the file is no key", { where: path, want: "a public or private key, PEM" });
  }
}

/** @returns undefined where there is none yet */
async function activeDeployment(context: Context, coordinator: Coordinator): Promise<ActiveDeployment | undefined> {
  try {
    const { history, rootCaCert } = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    const active = history.at(-1);
    return active && { manifest: parseManifest(active.manifest), generation: history.length, rootCa: rootCaCert };
  } catch (error) {
    if (error instanceof RemoteError && error.code === "no_manifest") return undefined;
    throw error;
  }
}

async function isWritten(context: Context, shares: string): Promise<boolean> {
  const before = await readIfPresent(join(context.workspace, FILES.seedShares), "the seed shares");
  return before?.equals(Buffer.from(shares)) === true;
}
