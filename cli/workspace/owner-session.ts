import { join } from "node:path";
import type { KeyPair } from "../../pki/keys.ts";
import { connect, type Coordinator } from "../coordinator.ts";
import { CliError, type Context } from "../context.ts";
import { type ActiveHistory, activeHistory } from "./active-history.ts";
import { requireNoFormerHolders } from "./former-holders.ts";
import type { ManifestAtHand } from "./manifest-at-hand.ts";
import { type Pin, readPin, requireSameDeployment } from "./pin.ts";
import { FILES, ownerKey } from "./workspace.ts";

/** A Coordinator that has proven itself against the manifest at hand, and is of the deployment that this workspace knows. */
export interface Session {
  readonly coordinator: Coordinator;
  readonly active: ActiveHistory;
  readonly pin: Pin | undefined;
  /** A software TEE. */
  readonly insecure: boolean;
}

/**
 * @param target host:port
 * @param keys undefined: who is asked for nothing that is for owners alone
 * @throws CliError another_deployment, pin_mismatch, and what connecting throws
 */
export async function inSession<T>(
  context: Context,
  target: string,
  { manifest }: ManifestAtHand,
  keys: KeyPair | undefined,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const pin = await readPin(context);
  const coordinator = await connect(context, target, manifest, keys);
  try {
    const active = await activeHistory(context, coordinator);
    if (pin !== undefined) await requireSameDeployment(context, pin, active);
    if (active === undefined) {
      throw new CliError(
        "another_deployment",
        "this Coordinator has no manifest, so there is nothing that owners change",
        {
          where: target,
          hint: "its state was lost or replaced; or the first manifest of the deployment is not set yet",
        },
      );
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
  throw new CliError("malformed_file", "this is for workload owners: it needs an owner's private key", {
    where,
    got: "no such file",
    want: "an EC key, PEM",
    hint: "name it with --workload-owner-key",
  });
}

/**
 * For commands with several actions, of which not all take the same.
 *
 * @param action the words of the command
 * @throws CliError usage
 */
export function refuseOptions(
  options: Readonly<Record<string, string | readonly string[] | boolean | undefined>>,
  action: string,
): void {
  for (const [where, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue;
    throw new CliError("usage", `\`contrast ${action}\` does not take this`, { where, got: String(value) });
  }
}
