import { createPrivateKey } from "node:crypto";
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type KeyPair, keyPairOf } from "../../pki/keys.ts";
import { replaceFile } from "../../runtime/files.ts";
import { CliError, type Context } from "../context.ts";

/** The files of the workspace (docs/design.md §8). */
export const FILES = {
  manifest: "manifest.json",
  workloadOwnerKey: "workload-owner.pem",
  seedshareOwnerKey: "seedshare-owner.pem",
  seedShares: "seed-shares.json",
  /** The deployment that this workspace knows. */
  pin: "pinned.json",
  /** A signature over a change of the manifest, and the bytes that it is over. */
  signature: "transition.sig",
  change: "transition.tbs",
  /** What a Coordinator has prepared for a rekey. */
  rekey: "rekey.json",
  rootCa: "coordinator-root-ca.pem",
  meshCa: "mesh-ca.pem",
  verify: "verify",
  /** Changes that wait for signatures. */
  pending: "pending",
  history: "history.json",
  /** Of a pending amendment. */
  annex: "annex.json",
  report: "report.html",
} as const;

/** @throws CliError `unreadable_file` where the workspace is no folder: who mistypes it shall not get a new one */
export async function requireWorkspace(directory: string): Promise<void> {
  const cause = await stat(directory).catch((error: NodeJS.ErrnoException) => error);
  if (!(cause instanceof Error) && cause.isDirectory()) return;
  throw new CliError("unreadable_file", "the workspace is not there", {
    where: `--workspace-dir ${directory}`,
    got: cause instanceof Error ? cause.code : "a file",
    want: "a folder",
    hint: "make it with mkdir, or with `contrast generate`",
    cause,
  });
}

/**
 * @param hint what to do where there is no such file
 * @throws CliError `unreadable_file`
 */
export async function readInput(path: string, what: string, hint?: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const got = (cause as NodeJS.ErrnoException).code;
    throw new CliError("unreadable_file", `${what} can't be read`, {
      where: path,
      got,
      hint: got === "ENOENT" && hint !== undefined ? hint : "check the path and its permissions",
      cause,
    });
  }
}

/** @returns undefined where there is no such file */
export async function readIfPresent(path: string, what: string): Promise<Buffer | undefined> {
  try {
    return await readInput(path, what);
  } catch (error) {
    if (error instanceof CliError && error.got === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes files into a directory, which is made if it is missing. Each file is replaced as a whole. */
export async function writeOutputs(
  directory: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    try {
      await mkdir(directory, { recursive: true });
      await replaceFile(path, content);
    } catch (cause) {
      throw new CliError("unwritable_file", "a result can't be written", {
        where: path,
        got: (cause as NodeJS.ErrnoException).code,
        hint: "make room or correct the permissions, and run it again",
        cause,
      });
    }
  }
}

/**
 * The private key that an option names, or the workspace's own.
 *
 * @returns undefined where no option was given and the workspace has none
 */
export async function ownerKey(
  context: Context,
  option: string | undefined,
  file: string,
): Promise<KeyPair | undefined> {
  const path = option ?? join(context.workspace, file);
  const pem = option === undefined ? await readIfPresent(path, "the key") : await readInput(path, "the key");
  if (pem === undefined) return undefined;
  try {
    return keyPairOf(createPrivateKey(pem));
  } catch (cause) {
    throw new CliError("malformed_file", "the file is no private key", {
      where: path,
      want: "an unencrypted private key, PEM",
      cause,
    });
  }
}
