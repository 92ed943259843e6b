import { inspect } from "node:util";

/**
 * Bytes that must never be seen. Printing, logging, serialising or interpolating a Secret shows a placeholder; only
 * `reveal` gives the bytes, one word to search for in a review.
 */
export class Secret {
  readonly #bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes);
  }

  reveal(): Buffer {
    return this.#bytes;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}
