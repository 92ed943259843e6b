import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { UserAPI } from "../api/userapi_pb.ts";
import { fromHex } from "../bytes/hex.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { spki } from "../pki/keys.ts";
import { decryptSeed } from "../pki/seed-share.ts";
import type { Secret } from "../runtime/secret.ts";
import { callDeadline, connect } from "./coordinator.ts";
import { CliError, type Context, printResult } from "./context.ts";
import { FILES, ownerKey, readInput, writeOutputs } from "./workspace.ts";

export interface RecoverOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly seedshareOwnerKey?: string;
  readonly force?: boolean;
}

const hex = z.string().transform((text, context) => {
  const bytes = fromHex(text);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: "hexadecimal digits, two for each byte" });
  return z.NEVER;
});

const seedSharesSchema = z.strictObject({
  Salt: hex,
  SeedShares: z.array(z.strictObject({ PublicKey: hex, EncryptedSeed: hex })),
});

/** `contrast recover`: gives a restarted Coordinator the seed, after it has proven itself against the manifest. */
export async function recover(context: Context, options: RecoverOptions): Promise<void> {
  const bytes = await readInput(options.manifest ?? join(context.workspace, FILES.manifest), "the manifest");
  const manifest = parseManifest(bytes);
  const path = join(context.workspace, FILES.seedShares);
  const shares = parseSeedShares(path, await readInput(path, "the seed shares"));
  const keys = await ownerKey(context, options.seedshareOwnerKey, FILES.seedshareOwnerKey);
  if (keys === undefined) {
    throw new CliError("unreadable_file", "recovery needs a seed share owner's private key", {
      where: "--seedshare-owner-key",
      want: `a PEM file, or ${FILES.seedshareOwnerKey} in the workspace`,
    });
  }
  const share = shares.SeedShares.find(({ PublicKey }) => PublicKey.equals(spki(keys.publicKey)));
  if (share === undefined) {
    throw new CliError("no_seed_share", "no seed share belongs to this key", { where: path });
  }
  const seed = decrypt(share.EncryptedSeed, keys.privateKey, path);

  const coordinator = await connect(context, options.coordinator, manifest);
  try {
    const response = await coordinator.call(
      UserAPI.method.recover,
      { seed: seed.reveal(), salt: shares.Salt, force: options.force === true },
      callDeadline(context),
    );
    const files = { [FILES.rootCa]: response.rootCaCert, [FILES.meshCa]: response.meshCaCert };
    await writeOutputs(context.workspace, files);
    printResult(context, coordinator.server?.insecure === true, {
      result: "recovered",
      coordinator: options.coordinator,
      next: "restart the workloads: the mesh has a new CA",
      written: Object.keys(files).map((name) => join(context.workspace, name)),
    });
  } finally {
    coordinator.close();
  }
}

function parseSeedShares(path: string, bytes: Buffer): z.infer<typeof seedSharesSchema> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch (cause) {
    throw new CliError("malformed_file", "the seed shares are no JSON", { where: path, cause });
  }
  const result = seedSharesSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new CliError("malformed_file", "the seed shares are malformed", {
    where: `${path}, $.${issue?.path.join(".") ?? ""}`,
    want: issue?.message,
  });
}

function decrypt(encrypted: Buffer, key: KeyObject, path: string): Secret {
  try {
    return decryptSeed(encrypted, key);
  } catch (cause) {
    throw new CliError("no_seed_share", "the seed share can't be decrypted with this key", { where: path, cause });
  }
}
