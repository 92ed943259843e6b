import { join } from "node:path";
import { type SeedShares, UserAPI } from "../api/userapi_pb.ts";
import { fromHex } from "../bytes/hex.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { callDeadline, connect } from "./coordinator.ts";
import { CliError, type Context, printResult } from "./context.ts";
import { collectPolicies } from "./generate/policies.ts";
import { FILES, ownerKey, readInput, writeOutputs } from "./workspace.ts";

export interface SetOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  readonly atomic?: boolean;
  readonly latestTransition?: string;
}

/** `contrast set`: makes a manifest the active one, after the Coordinator has proven itself against it. */
export async function set(context: Context, paths: readonly string[], options: SetOptions): Promise<void> {
  const bytes = await readInput(options.manifest ?? join(context.workspace, FILES.manifest), "the manifest");
  const manifest = parseManifest(bytes);
  const policies = await collectPolicies(paths);
  for (const { hash, name, file } of policies) {
    if (manifest.policies.has(hash)) continue;
    throw new CliError("policy_mismatch", "a pod's policy is not in the manifest", {
      where: `${file}, ${name}`,
      got: hash,
      want: "a policy of the manifest",
      hint: "run `contrast generate` again",
    });
  }
  const missing = [...manifest.policies.keys()].find((hash) => policies.every((policy) => policy.hash !== hash));
  if (missing !== undefined) {
    throw new CliError("policy_mismatch", "the manifest lists a policy that no given file has", {
      where: `$.Policies["${missing}"]`,
      hint: "name all files that were given to `contrast generate`",
    });
  }
  const latestTransition = await expectedTransition(context, options);
  const keys = await ownerKey(context, options.workloadOwnerKey, FILES.workloadOwnerKey);

  const coordinator = await connect(context, options.coordinator, manifest, keys);
  try {
    const response = await coordinator.call(
      UserAPI.method.setManifest,
      {
        manifest: bytes,
        policies: [...new Map(policies.map(({ hash, document }) => [hash, document])).values()],
        ...(latestTransition === undefined ? {} : { latestTransition }),
      },
      callDeadline(context),
    );
    const files = {
      ...(response.seedShares === undefined ? {} : { [FILES.seedShares]: seedSharesFile(response.seedShares) }),
      [FILES.rootCa]: response.rootCaCert,
      [FILES.meshCa]: response.meshCaCert,
    };
    await writeOutputs(context.workspace, files);
    printResult(context, coordinator.server?.insecure === true, {
      result: "manifest set",
      coordinator: options.coordinator,
      transition: Buffer.from(response.latestTransition).toString("hex"),
      written: Object.keys(files).map((name) => join(context.workspace, name)),
      ...(response.seedShares === undefined ? { next: "restart the workloads: the mesh has a new CA" } : {}),
    });
  } finally {
    coordinator.close();
  }
}

/** The transition that must still be the latest one: as told, or as the last `verify` saw it. */
async function expectedTransition(context: Context, options: SetOptions): Promise<Buffer | undefined> {
  if (options.latestTransition !== undefined) {
    const bytes = fromHex(options.latestTransition, 32);
    if (bytes !== undefined) return bytes;
    throw new CliError("usage", "a transition is named by its SHA-256", {
      where: "--latest-transition",
      got: JSON.stringify(options.latestTransition),
      want: "64 hexadecimal digits",
    });
  }
  if (options.atomic !== true) return undefined;
  const path = join(context.workspace, FILES.verify, FILES.history);
  const text = (await readInput(path, "the history of the last `contrast verify`")).toString();
  const last = /.*"transition":\s*"([0-9a-f]{64})"/s.exec(text)?.[1];
  if (last === undefined) throw new CliError("malformed_file", "the history names no transition", { where: path });
  return Buffer.from(last, "hex");
}

/** Encrypted, so anybody may see it; but without it nobody can recover. */
function seedSharesFile({ salt, shares }: SeedShares): string {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  const document = {
    Salt: hex(salt),
    SeedShares: shares.map(({ publicKey, encryptedSeed }) => ({
      PublicKey: hex(publicKey),
      EncryptedSeed: hex(encryptedSeed),
    })),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
