import { open } from "node:fs/promises";
import { Secret } from "../../runtime/secret.ts";
import { CliError, type Context } from "../context.ts";

/** What a secret may have, in bytes. */
const LARGEST = 64 * 1024;

/**
 * The value of a secret, byte for byte, from a file or a pipe; never from the command line, which other users of the machine
 * see in the list of processes.
 *
 * @param path undefined: standard input
 * @throws CliError unreadable_file, malformed_file; without a byte of the value
 */
export async function readValue(context: Pick<Context, "input">, path: string | undefined): Promise<Secret> {
  const where = path ?? "standard input";
  const bytes = await (path === undefined ? firstBytes(context.input()) : readFirst(path)).catch((cause: unknown) => {
    const got = (cause as NodeJS.ErrnoException).code;
    const want = "a file or a pipe";
    throw new CliError("unreadable_file", "the value of the secret can't be read", { where, got, want });
  });
  const got = { 0: "nothing", [LARGEST + 1]: "more" }[bytes.length];
  if (got === undefined) return new Secret(bytes);
  throw new CliError("malformed_file", "this is no value of a secret", { where, got, want: "1 byte to 64 KiB" });
}

async function readFirst(path: string): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    return await firstBytes(file.createReadStream({ autoClose: false }));
  } finally {
    await file.close();
  }
}

/** At most one more than it may have: what does not end is not read to its end. */
async function firstBytes(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > LARGEST) break;
  }
  return Buffer.concat(chunks).subarray(0, LARGEST + 1);
}
