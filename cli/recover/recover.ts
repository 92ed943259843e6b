import { join } from "node:path";
import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import { attestedHistory, keyOf } from "../../manifest/attested-history.ts";
import { callDeadline, connect, type Coordinator } from "../coordinator.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { type Pin, pinPath, replacedRoots, requirePin } from "../workspace/pin.ts";
import { entryName } from "../workspace/policy-match.ts";
import { ownShare } from "../workspace/seed-shares-file.ts";
import { FILES, ownerKey, readIfPresent, writeOutputs } from "../workspace/workspace.ts";

export interface RecoverOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly seedshareOwnerKey?: string;
  readonly force?: boolean;
}

/**
 * `contrast recover`: gives a restarted Coordinator the seed, or this owner's share of it, after it has proven itself
 * against the manifest. The connection is made with the owner's key: only owners may recover. What this owner knows of
 * the deployment goes along, so that the host can't have another one recovered. It is never learnt from a recovery.
 */
export async function recover(context: Context, options: RecoverOptions): Promise<void> {
  const { path, bytes, manifest } = await readManifest(context, options.manifest);
  const keys = await ownerKey(context, options.seedshareOwnerKey, FILES.seedshareOwnerKey);
  if (keys === undefined) {
    throw new CliError("unreadable_file", "recovery needs a seed share owner's private key", {
      where: join(context.workspace, FILES.seedshareOwnerKey),
      got: "no such file",
      hint: "name another with --seedshare-owner-key, or another workspace with --workspace-dir",
    });
  }
  const pin = await requirePin(context, "a recovery");
  const file = await readSeedShares(context);
  const { share, salt } = ownShare(file.path, file.bytes, keys);

  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const response = await coordinator.call(
      UserAPI.method.recover,
      {
        seed: share.reveal(),
        salt,
        force: options.force === true,
        pinnedTransition: Buffer.from(pin.transition, "hex"),
        pinnedRootKey: Buffer.from(pin.rootKey, "hex"),
      },
      callDeadline(context),
    );
    const insecure = coordinator.server?.claims.insecure === true;
    if (response.missingShares > 0) {
      printResult(context, insecure, {
        result: "share accepted",
        coordinator: options.coordinator,
        "missing shares": response.missingShares,
        next: "other seed share owners run `contrast recover` as well, until no share is missing",
      });
      return;
    }
    await requirePinnedRoot(context, pin, response.rootCaCert, coordinator);
    const sameManifest = bytes.equals(response.manifest);
    const files = { [FILES.rootCa]: response.rootCaCert, [FILES.meshCa]: response.meshCaCert };
    // What a Coordinator certifies under another manifest than the one that was read must not take its place.
    if (sameManifest) await writeOutputs(context.workspace, files);
    printResult(context, insecure, {
      result: sameManifest ? "recovered" : "recovered, with another manifest than the one at hand",
      coordinator: options.coordinator,
      manifest: sha256Hex(response.manifest),
      restart: workloadsOf(parseManifest(response.manifest)),
      ...(sameManifest
        ? {
            next: "restart these workloads: the mesh has a new CA",
            written: Object.keys(files).map((name) => join(context.workspace, name)),
          }
        : {}),
    });
    if (!sameManifest) throw anotherManifest(path, bytes, response.manifest);
  } finally {
    coordinator.close();
  }
}

/** Those of `set`; where this owner never set a manifest, those that `verify` saved. Both came from an active one. */
async function readSeedShares(context: Context): Promise<{ readonly path: string; readonly bytes: Buffer }> {
  const directories = [context.workspace, join(context.workspace, FILES.verify)];
  for (const path of directories.map((directory) => join(directory, FILES.seedShares))) {
    const bytes = await readIfPresent(path, "the seed shares");
    if (bytes !== undefined) return { path, bytes };
  }
  throw new CliError("unreadable_file", "the seed shares are missing", {
    where: join(context.workspace, FILES.seedShares),
    want: "the file that `contrast set` or `contrast verify` wrote while the Coordinator was active",
    hint: "run `contrast verify` while the Coordinator is active: it writes the file",
  });
}

/**
 * The Coordinator has compared it. Yet what is written here takes the place of what this owner trusted before. Where the
 * root CA is another one, the history has to say that owners allowed a rekey after what is pinned.
 */
async function requirePinnedRoot(context: Context, pin: Pin, rootCa: string, coordinator: Coordinator): Promise<void> {
  const got = keyOf(rootCa, "root CA");
  if (got === pin.rootKey) return;
  const history = attestedHistory(await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context)));
  if (history.rootKey === got && replacedRoots(pin, history).has(pin.rootKey)) return;
  throw new CliError("another_deployment", "what was recovered has another root CA than the one pinned", {
    where: `${pinPath(context)}, $.RootCaKey`,
    got,
    want: pin.rootKey,
    hint: "do not use this deployment: its secrets are somebody else's. No file was written",
  });
}

/** One line for each policy whose pods have to be restarted: all but the Coordinator's. */
function workloadsOf({ policies }: Manifest): string[] {
  return [...policies]
    .filter(([, { role }]) => role !== "coordinator")
    .map(([hash, entry]) => `${entryName(entry)} (policy ${hash.slice(0, 12)})`);
}

/** The recovery is done. Whether it is good news is for a person to find out: a host may have given back an old state. */
function anotherManifest(path: string, atHand: Uint8Array, active: Uint8Array): CliError {
  return new CliError(
    "manifest_mismatch",
    "the Coordinator is recovered and now enforces another manifest than the one at hand; no file was written",
    {
      where: path,
      got: `SHA-256 ${sha256Hex(active)}`,
      want: `SHA-256 ${sha256Hex(atHand)}`,
      hint:
        "if the one at hand is the newest, the stored state is an old copy: run `contrast set` again; " +
        "otherwise get the newest from the workload owner and run `contrast verify`",
    },
  );
}
