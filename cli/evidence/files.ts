import { createReadStream } from "node:fs";
import { type EvidenceCode, EvidenceError } from "../../attestation/error.ts";
import { CliError } from "../context.ts";

/** Many times the largest evidence and collateral that vendors give out. */
export const MAX_FILE_SIZE = 1024 * 1024;

/**
 * Reads a file that a stranger may have made, never more of it than the limit.
 *
 * @param what its name, for the error
 * @param code of a file that is too large to be what it should be
 * @throws CliError unreadable_file; EvidenceError
 */
export async function readEvidenceFile(path: string, what: string, code: EvidenceCode): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    // One byte more than the limit, to see whether there is one.
    for await (const chunk of createReadStream(path, { end: MAX_FILE_SIZE })) chunks.push(chunk as Buffer);
  } catch (cause) {
    throw new CliError("unreadable_file", `${what} can't be read`, {
      where: path,
      got: (cause as NodeJS.ErrnoException).code,
      cause,
    });
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length <= MAX_FILE_SIZE) return bytes;
  throw new EvidenceError(code, `${what} is larger than any`, {
    where: path,
    got: `more than ${MAX_FILE_SIZE} bytes`,
    want: `at most ${MAX_FILE_SIZE} bytes`,
  });
}
