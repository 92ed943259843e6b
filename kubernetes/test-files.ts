import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { ResourceError } from "./error.ts";

/** Real files for tests that read or write them. They are removed when the test has finished. */

// oxlint-disable-next-line typescript/no-explicit-any -- what a test looks into, it knows
export type Loose = any;

export interface TestFiles {
  readonly dir: string;
  readonly read: (name: string) => Promise<string>;
  readonly write: (name: string, text: string) => Promise<void>;
}

/** A folder with these files in `app`. */
export async function testFiles(files: Readonly<Record<string, string>>): Promise<TestFiles> {
  const dir = await mkdtemp(join(tmpdir(), "contrast-files-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  const read = (name: string): Promise<string> => readFile(join(dir, name), "utf8");
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), text);
  };
  await mkdir(join(dir, "app"));
  for (const [name, text] of Object.entries(files)) await write(`app/${name}`, text);
  return { dir, read, write };
}

/** What an action is refused with. */
export async function refusal(action: Promise<unknown>): Promise<ResourceError> {
  const error: unknown = await action.then(
    () => new Error("was accepted"),
    (reason: unknown) => reason,
  );
  if (error instanceof ResourceError) return error;
  throw error;
}
