import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { NodeError } from "./error.ts";

/** The guest image that the installer's image brings along, and its description, `guest.json` (docs/guest-image.md). */
export interface Guest {
  /** Name of the file beside the description. */
  readonly image: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  readonly sha256: string;
  readonly rootfsType: "ext4" | "erofs";
  /** Kernel parameters that come behind Kata's own. */
  readonly kernelParams: string;
  /** Kata's `kernel_verity_params`: root hash, salt, sizes. */
  readonly kernelVerityParams: string;
}

const schema = z.strictObject({
  image: z.string().regex(/^[\w.-]+$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  rootfsType: z.enum(["ext4", "erofs"]),
  kernelParams: z.string(),
  kernelVerityParams: z.string().min(1),
});

/** @throws NodeError guest_missing, guest_damaged */
export async function readGuest(directory: string): Promise<Guest> {
  const path = join(directory, "guest.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new NodeError("guest_missing", "the installer's image has no guest image", {
      where: path,
      want: "an image that was built with `npm run images -- --guest FOLDER`",
      cause: error,
    });
  }
  const checked = schema.safeParse(parsed(text));
  if (checked.success) return checked.data;
  throw new NodeError("guest_damaged", "the description of the guest image is not complete", {
    where: path,
    got: checked.error.issues[0]?.message ?? "",
    want: "what `npm run guest-image` writes",
  });
}

/** @returns undefined where it is no JSON, such as a file that was cut */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Copies the image, and compares it with its description on the way. @throws NodeError guest_damaged */
export async function copyGuest(directory: string, guest: Guest, target: string): Promise<void> {
  const hash = createHash("sha256");
  await pipeline(
    createReadStream(join(directory, guest.image)),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(target, { flags: "wx", mode: 0o644, flush: true }),
  );
  const got = hash.digest("hex");
  if (got === guest.sha256) return;
  throw new NodeError("guest_damaged", "the guest image is not the one that its description names", {
    where: join(directory, guest.image),
    got,
    want: guest.sha256,
  });
}
