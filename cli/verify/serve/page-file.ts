import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { getRawAsset, isSea } from "node:sea";
import { describeError } from "../../../runtime/errors.ts";
import { CliError } from "../../context.ts";

/**
 * The page, as `npm run build` made it: in the executable, beside the compiled programs, and below dist/ for a checkout that
 * runs its sources.
 */
const NAME = "verifier/index.html";

export interface BuiltPage {
  readonly bytes: Buffer;
  /** Its Content-Security-Policy, as it says itself. */
  readonly policy: string;
}

/** @throws CliError unreadable_file, malformed_file */
export async function readBuiltPage(): Promise<BuiltPage> {
  if (isSea()) return withPolicy(Buffer.from(getRawAsset(NAME)), NAME);
  const path = join(import.meta.dirname, "../../..", extname(import.meta.filename) === ".ts" ? "dist" : ".", NAME);
  try {
    return withPolicy(await readFile(path), path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("unreadable_file", "the page can't be read", {
      where: path,
      got: describeError(cause),
      hint: "in a checkout, npm run build makes it",
      cause,
    });
  }
}

function withPolicy(bytes: Buffer, where: string): BuiltPage {
  const [, policy] = /<meta http-equiv="Content-Security-Policy" content="([^"&<>\r\n]+)"/.exec(bytes.toString()) ?? [];
  if (policy !== undefined) return { bytes, policy };
  throw new CliError("malformed_file", "this is not the page of this program: it states no policy", { where });
}
