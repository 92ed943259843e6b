import { createPublicKey } from "node:crypto";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { spki } from "../../pki/keys.ts";
import { CliError } from "../context.ts";
import { readInput } from "./workspace.ts";

/**
 * What `contrast sign` or a key store made, and whose key it is said to be by.
 *
 * @param file the signature
 * @param path the key, which may be the public one
 * @throws CliError unreadable_file, malformed_file
 */
export async function detachedSignature(file: string, path: string): Promise<ChangeSignature> {
  const signature = await readInput(file, "the signature");
  const pem = await readInput(path, "the key of the signature");
  try {
    return { publicKey: spki(createPublicKey(pem)), signature };
  } catch {
    // The parser's error may quote the file, and the file may be a private key.
    throw new CliError("malformed_file", "the file is no key", { where: path, want: "a public or private key, PEM" });
  }
}
