import { join } from "node:path";
import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { callDeadline, connect, type Coordinator } from "../coordinator.ts";
import { makeActive, type SetOptions } from "../set/set.ts";
import { attestedHistory } from "../../manifest/attested-history.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { readPin, requireSameDeployment } from "../workspace/pin.ts";
import { encodePreparedRekey, type PreparedRekey, readPreparedRekey } from "../workspace/prepared-rekey.ts";
import { FILES, ownerKey, writeOutputs } from "../workspace/workspace.ts";

export interface RekeyOptions extends Omit<SetOptions, "latestTransition"> {
  readonly prepare?: boolean;
}

/**
 * `contrast rekey`: as `set`, with a new seed. What the workload owners sign is the root CA key that the seed gives, as the
 * attested Coordinator that made the seed says. Where the owners sign elsewhere, `--prepare` writes that key to a file.
 */
export async function rekey(context: Context, paths: readonly string[], options: RekeyOptions): Promise<void> {
  requireWords(paths, options);
  if (options.prepare === true) return prepare(context, options);
  if (options.signature === undefined) {
    await makeActive(context, paths, options, async (coordinator) => {
      return Buffer.from((await askPrepared(context, coordinator)).newRootKey, "hex");
    });
    return;
  }
  const { newRootKey } = await readPreparedRekey(context);
  await makeActive(context, paths, options, async () => Buffer.from(newRootKey, "hex"));
}

/** @throws CliError usage */
function requireWords(paths: readonly string[], options: RekeyOptions): void {
  const isPreparation = options.prepare === true;
  if (isPreparation && (paths.length > 0 || options.signature !== undefined)) {
    throw new CliError("usage", "--prepare only has the new seed made: it takes neither files nor signatures");
  }
  if (!isPreparation && paths.length === 0) {
    throw new CliError("usage", "a rekey sets the manifest, too, and so needs the files that `generate` prepared");
  }
}

async function prepare(context: Context, options: RekeyOptions): Promise<void> {
  const { manifest } = await readManifest(context, options.manifest);
  const [key, ...others] = options.workloadOwnerKey ?? [];
  if (others.length > 0) throw new CliError("usage", "--prepare makes one connection, with one owner's key");
  const keys = await ownerKey(context, key, FILES.workloadOwnerKey);
  const pin = await readPin(context);
  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const history = attestedHistory(await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context)));
    if (pin !== undefined) await requireSameDeployment(context, pin, history);
    else requireNoFormerHolders(history.steps, []);
    const prepared = await askPrepared(context, coordinator);
    await writeOutputs(context.workspace, { [FILES.rekey]: encodePreparedRekey(prepared) });
    printResult(context, coordinator.server?.claims.insecure === true, {
      result: "rekey prepared",
      coordinator: options.coordinator,
      "new root CA key": prepared.newRootKey,
      "latest transition": prepared.transition,
      "mesh CA key": prepared.meshKey,
      until: prepared.until,
      written: [join(context.workspace, FILES.rekey)],
      next:
        "every workload owner signs the new manifest with `contrast sign --rekey`; then `contrast rekey --signature`, " +
        "on this very Coordinator",
    });
  } finally {
    coordinator.close();
  }
}

async function askPrepared(context: Context, coordinator: Coordinator): Promise<PreparedRekey> {
  const answer = await coordinator.call(UserAPI.method.prepareRekey, {}, callDeadline(context));
  return {
    transition: Buffer.from(answer.latestTransition).toString("hex"),
    meshKey: Buffer.from(answer.meshKey).toString("hex"),
    newRootKey: sha256Hex(answer.rootKey),
    until: new Date(Number(answer.until)).toISOString(),
  };
}
