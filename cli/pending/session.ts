import { join } from "node:path";
import type { KeyPair } from "../../pki/keys.ts";
import { connect, type Coordinator } from "../coordinator.ts";
import { CliError, type Context } from "../context.ts";
import { type ActiveHistory, activeHistory } from "../workspace/active-history.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { type Pin, readPin, requireSameDeployment } from "../workspace/pin.ts";
import { FILES, ownerKey } from "../workspace/workspace.ts";

export interface PendingOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  readonly signature?: string;
  readonly revoke?: boolean;
}

/** A Coordinator that has proven itself against the manifest at hand, and is of the deployment that this workspace knows. */
export interface Session {
  readonly coordinator: Coordinator;
  readonly active: ActiveHistory;
  readonly pin: Pin | undefined;
  /** A software TEE. */
  readonly insecure: boolean;
}

/**
 * @param keys undefined: who is asked for nothing that is for owners alone
 * @throws CliError another_deployment, pin_mismatch, and what connecting throws
 */
export async function inSession<T>(
  context: Context,
  { coordinator: target }: PendingOptions,
  { manifest }: ManifestAtHand,
  keys: KeyPair | undefined,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const pin = await readPin(context);
  const coordinator = await connect(context, target, manifest, keys);
  try {
    const active = await activeHistory(context, coordinator);
    if (pin !== undefined) requireSameDeployment(context, pin, active);
    if (active === undefined) {
      throw new CliError("another_deployment", "this Coordinator has no manifest, so nothing can wait for signatures", {
        where: target,
        hint: "its state was lost or replaced; or the first manifest of the deployment is not set yet",
      });
    }
    if (pin === undefined) requireNoFormerHolders(active.steps, []);
    return await use({ coordinator, active, pin, insecure: coordinator.server?.claims.insecure === true });
  } finally {
    coordinator.close();
  }
}

/** @returns the key, and where it is @throws CliError malformed_file where there is none */
export async function requireOwnKey(
  context: Context,
  option: string | undefined,
): Promise<{ readonly keys: KeyPair; readonly where: string }> {
  const where = option ?? join(context.workspace, FILES.workloadOwnerKey);
  const keys = await ownerKey(context, option, FILES.workloadOwnerKey);
  if (keys !== undefined) return { keys, where };
  throw new CliError("malformed_file", "pending changes are for workload owners: this needs an owner's private key", {
    where,
    got: "no such file",
    want: "an EC key, PEM",
    hint: "name it with --workload-owner-key",
  });
}

/** The manifest that is meant: the one that is named, or the one at hand. */
export async function readMeant(
  context: Context,
  file: string | undefined,
  options: PendingOptions,
): Promise<{ readonly atHand: ManifestAtHand; readonly meant: ManifestAtHand }> {
  const atHand = await readManifest(context, options.manifest);
  return { atHand, meant: file === undefined ? atHand : await readManifest(context, file) };
}

/** @throws CliError usage */
export function refuseOptions(options: Readonly<Record<string, string | undefined>>, action: string): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    throw new CliError("usage", `\`contrast pending ${action}\` does not take this`, { where: name, got: value });
  }
}
