import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from "@bufbuild/protobuf";

/**
 * Decodes what a stranger sent (https://protobuf.dev/programming-guides/encoding/). A decoder makes an object of every
 * element of a message, and two bytes are enough for one: 16 MiB become gigabytes. So the elements are counted first,
 * on the bytes as they are, and a message that has too many is refused before anything is made of it.
 *
 * Fields that the schema does not know are dropped. They count like all others.
 */

/** As many fields as a message may have, at all depths together, unless its reader says another number. */
export const MAX_FIELDS = 4096;

/** Messages in messages. Ours have three. */
const MAX_DEPTH = 8;

/** @throws UnboundedMessage, and what protobuf-es throws of bytes that are no such message */
export function decodeBounded<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
  maxFields = MAX_FIELDS,
): MessageShape<D> {
  new FieldCount(bytes, maxFields).message(schema, bytes.length, MAX_DEPTH);
  return fromBinary(schema, bytes, { readUnknownFields: false });
}

/** More than a decoder may be given, or no encoding of a message at all. */
export class UnboundedMessage extends Error {}

/** How a field stands on the wire. Groups (3 and 4) are none of ours. */
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

const FIXED: ReadonlyMap<ScalarType, number> = new Map([
  [ScalarType.DOUBLE, WIRE.fixed64],
  [ScalarType.FIXED64, WIRE.fixed64],
  [ScalarType.SFIXED64, WIRE.fixed64],
  [ScalarType.FLOAT, WIRE.fixed32],
  [ScalarType.FIXED32, WIRE.fixed32],
  [ScalarType.SFIXED32, WIRE.fixed32],
  [ScalarType.STRING, WIRE.bytes],
  [ScalarType.BYTES, WIRE.bytes],
]);

/** Walks over the encoding as the decoder will, and makes nothing. */
class FieldCount {
  readonly #bytes: Uint8Array;
  #offset = 0;
  #left: number;

  constructor(bytes: Uint8Array, maxFields: number) {
    this.#bytes = bytes;
    this.#left = maxFields;
  }

  message(schema: DescMessage, end: number, depth: number): void {
    if (depth === 0) throw new UnboundedMessage("messages in messages in messages");
    while (this.#offset < end) {
      this.#left -= 1;
      if (this.#left < 0) throw new UnboundedMessage("more fields than a message may have");
      const tag = this.#varint(end);
      const [number, wireType] = [Math.floor(tag / 8), tag % 8];
      const field = schema.fields.find((known) => known.number === number);
      // The decoder reads a known field as its type has it, whatever the tag says: then it would go on elsewhere.
      if (field !== undefined && wireType !== wireTypeOf(field)) {
        throw new UnboundedMessage(`${field.name} is of another type`);
      }
      this.#value(wireType, end, field?.message, depth);
    }
  }

  #value(wireType: number, end: number, message: DescMessage | undefined, depth: number): void {
    if (wireType === WIRE.varint) this.#skipVarint(end);
    else if (wireType === WIRE.fixed64) this.#skip(8, end);
    else if (wireType === WIRE.fixed32) this.#skip(4, end);
    else if (wireType !== WIRE.bytes) throw new UnboundedMessage(`wire type ${wireType}`);
    else {
      const length = this.#varint(end);
      const start = this.#offset;
      this.#skip(length, end);
      if (message === undefined) return;
      this.#offset = start;
      this.message(message, start + length, depth - 1);
    }
  }

  #skip(length: number, end: number): void {
    if (length > end - this.#offset) throw new UnboundedMessage(`it ends too early, at ${this.#offset}`);
    this.#offset += length;
  }

  /** Of 32 bits: a tag or a length. */
  #varint(end: number): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#byte(end);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80 && value < 2 ** 32) return value;
      if (byte < 0x80) break;
    }
    throw new UnboundedMessage(`a number of more than 32 bits, at ${this.#offset}`);
  }

  #skipVarint(end: number): void {
    for (let length = 0; length < 10; length++) if (this.#byte(end) < 0x80) return;
    throw new UnboundedMessage(`a number of more than 64 bits, at ${this.#offset}`);
  }

  #byte(end: number): number {
    const byte = this.#offset < end ? this.#bytes[this.#offset] : undefined;
    if (byte === undefined) throw new UnboundedMessage(`it ends too early, at ${this.#offset}`);
    this.#offset += 1;
    return byte;
  }
}

/** @throws Error where the schema has what this can't count: our messages have no maps and no lists of numbers */
function wireTypeOf(field: DescField): number {
  if (field.message !== undefined && field.fieldKind !== "map") return WIRE.bytes;
  const wireType = field.scalar === undefined ? WIRE.varint : (FIXED.get(field.scalar) ?? WIRE.varint);
  if (field.fieldKind === "map" || (field.fieldKind === "list" && wireType !== WIRE.bytes)) {
    throw new Error(`${field.toString()} can't be bounded`);
  }
  return wireType;
}
