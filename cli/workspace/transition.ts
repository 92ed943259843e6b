import { join } from "node:path";
import { z } from "zod";
import { fromHex } from "../../bytes/hex.ts";
import { CliError, type Context } from "../context.ts";
import { FILES, readInput } from "./workspace.ts";

const HINT = "run `contrast verify` first, or name the transition with --latest-transition";
const WANT = "64 hexadecimal digits";

/** @param hex the value of --latest-transition @returns 32 bytes @throws CliError usage */
export function transitionOf(hex: string): Uint8Array {
  const bytes = fromHex(hex, 32);
  if (bytes !== undefined) return bytes;
  throw new CliError("usage", "a transition is named by its SHA-256", {
    where: "--latest-transition",
    got: JSON.stringify(hex),
    want: WANT,
  });
}

const history = z.array(z.looseObject({ transition: z.string().regex(/^[0-9a-f]{64}$/, { error: WANT }) })).min(1);

/**
 * The latest transition as the last `contrast verify` saw it.
 *
 * @returns 32 bytes
 * @throws CliError unreadable_file, malformed_file
 */
export async function verifiedTransition(context: Context): Promise<Uint8Array> {
  const path = join(context.workspace, FILES.verify, FILES.history);
  const text = (await readInput(path, "the history of the last `contrast verify`", HINT)).toString();
  try {
    const { transition = "" } = history.parse(JSON.parse(text)).at(-1) ?? {};
    return Buffer.from(transition, "hex");
  } catch (cause) {
    throw new CliError("malformed_file", "the history does not name its transitions", {
      where: path,
      hint: "run `contrast verify` again",
      cause,
    });
  }
}
