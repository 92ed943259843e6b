import type { IncomingMessage } from "node:http";
import { MOST_BODY, tooLarge } from "./request-body.ts";
import { TransitError } from "./transit-error.ts";

/** A body that comes in crumbs is none: each of them costs more than it has in it. */
const MOST_PIECES = 2048;

/**
 * Reads the body of a request, which is never longer than `MOST_BODY`. How long that may take is up to the caller.
 *
 * @throws TransitError `request_too_large` before anything of a body is read that says so; `malformed_request` where it ends
 *   too early
 */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  // Node has refused what is no number, and two of them.
  if (Number(request.headers["content-length"] ?? 0) > MOST_BODY) throw tooLarge();
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  let length = 0;
  const take = (piece: Buffer): void => {
    length += piece.length;
    pieces.push(piece);
    if (length > MOST_BODY) reject(tooLarge());
    else if (pieces.length > MOST_PIECES) reject(new TransitError("malformed_request", "the body comes in crumbs"));
  };
  const end = (): void => resolve(Buffer.concat(pieces));
  const cut = (): void => reject(new TransitError("malformed_request", "the request ends too early"));
  request.on("data", take).on("end", end).on("close", cut);
  try {
    return await promise;
  } finally {
    request.off("data", take).off("end", end).off("close", cut);
    request.pause();
  }
}
