import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EvidenceError } from "../error.ts";

/** The files of a fake vendor and of its VMs. Each is replaced as a whole: a reader sees the old or the new one. */

export type TeeFile = "ark.pem" | "ask.pem" | "ask-key.pem" | "vcek.pem" | "vcek-key.pem" | "identity.json";

/** @returns undefined where there is no such file */
export async function readOptional(dir: string, name: TeeFile): Promise<string | undefined> {
  try {
    return await readFile(join(dir, name), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unusable(dir, name, (error as NodeJS.ErrnoException).code ?? String(error), "a file that can be read", error);
  }
}

/** @throws EvidenceError tee_unavailable */
export async function readRequired(dir: string, name: TeeFile): Promise<string> {
  const text = await readOptional(dir, name);
  if (text === undefined) throw unusable(dir, name, "no such file", "a file");
  return text;
}

/** @param mode 0600 for keys: nobody else may ever open them, not even while they are written */
export async function replace(dir: string, name: TeeFile, text: string, mode: 0o600 | 0o644): Promise<void> {
  const temporary = join(dir, `.${name}.${randomBytes(8).toString("hex")}`);
  await writeFile(temporary, text, { mode, flag: "wx" });
  await rename(temporary, join(dir, name));
}

export function unusable(dir: string, name: TeeFile, got: string, want: string, cause?: unknown): EvidenceError {
  return new EvidenceError("tee_unavailable", "the directory of the software TEE can't be used", {
    where: join(dir, name),
    got,
    want,
    hint: "set CONTRAST_SIMULATED_TEE_DIR to the directory of a VM that the software vendor launched",
    cause,
  });
}
