import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { CliError, type Context } from "../context.ts";
import { FILES, readIfPresent } from "./workspace.ts";

/**
 * The root CA that a workspace has met. Its key comes from the seed, so it stays until owners rekey: any other key is
 * another deployment, with other secrets, even if a Coordinator that is genuine enforces the same manifest. A host can
 * make that happen by taking the state away.
 */

/** `replaced`: by a rekey that the deployment's owners signed, after what the workspace has pinned. */
export type RootKnowledge = "unknown" | "same" | "replaced" | "another";

/**
 * @param directory where a command wrote `coordinator-root-ca.pem` earlier
 * @param rootCa PEM; undefined: there is none
 * @param replaced the keys that rekeys replaced since the pin (pin.ts)
 */
export async function compareWithKnownRoot(
  directory: string,
  rootCa: string | undefined,
  replaced: ReadonlySet<string>,
): Promise<RootKnowledge> {
  const path = join(directory, FILES.rootCa);
  const known = await readIfPresent(path, "the root CA");
  if (known === undefined) return "unknown";
  const key = keyOf(path, known);
  if (rootCa !== undefined && isEqual(key, keyOf("the Coordinator's root CA", rootCa))) return "same";
  return replaced.has(toHex(key)) ? "replaced" : "another";
}

/** @throws CliError `another_deployment` where the workspace belongs to another deployment */
export async function requireKnownRoot(
  context: Context,
  rootCa: string,
  replaced: ReadonlySet<string>,
): Promise<Exclude<RootKnowledge, "another">> {
  const knowledge = await compareWithKnownRoot(context.workspace, rootCa, replaced);
  if (knowledge !== "another") return knowledge;
  throw new CliError("another_deployment", "the Coordinator has another root CA than this workspace", {
    where: join(context.workspace, FILES.rootCa),
    hint:
      "its state was lost or replaced, and so were all secrets; if a new deployment is meant, use a new workspace, " +
      "or remove that file",
  });
}

function keyOf(where: string, pem: string | Buffer): Uint8Array {
  try {
    return spkiDigest(new X509Certificate(pem).publicKey);
  } catch (cause) {
    throw new CliError("malformed_file", "this is no certificate", { where, want: "PEM", cause });
  }
}
