import type { IncomingMessage } from "node:http";

export interface BodyBounds {
  /** Bytes. */
  readonly most: number;
  /** A body that comes in crumbs is none: each of them costs more than it has in it. */
  readonly mostPieces: number;
  readonly tooLarge: () => Error;
  readonly malformed: (message: string) => Error;
}

/**
 * Reads the body of a request of HTTP, which is never longer than its bounds. How long that may take is up to the caller.
 *
 * @throws `tooLarge` before anything of a body is read that says so; `malformed` where it ends too early, or comes in crumbs
 */
export async function readBody(request: IncomingMessage, bounds: BodyBounds): Promise<Buffer> {
  const { most, mostPieces, tooLarge, malformed } = bounds;
  // Node has refused what is no number, and two of them.
  if (Number(request.headers["content-length"] ?? 0) > most) throw tooLarge();
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  let length = 0;
  const take = (piece: Buffer): void => {
    length += piece.length;
    pieces.push(piece);
    if (length > most) reject(tooLarge());
    else if (pieces.length > mostPieces) reject(malformed("the body comes in crumbs"));
  };
  const end = (): void => resolve(Buffer.concat(pieces));
  const cut = (): void => reject(malformed("the request ends too early"));
  request.on("data", take).on("end", end).on("close", cut);
  try {
    return await promise;
  } finally {
    request.off("data", take).off("end", end).off("close", cut);
    request.pause();
  }
}
