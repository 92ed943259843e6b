/** Changes inputs at random, in the ways that parsers tend to trip over. */

/** No input gets longer: with more, even time in proportion to the length would be much. */
export const LONGEST = 64 * 1024;

const NUMBERS = [
  0, 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];

/** Numbers that look random, the same ones for the same seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 0 to `end` - 1. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  /** @param items at least one */
  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

/** @param corpus where parts of other inputs are taken from */
export function mutate(input: Buffer, corpus: readonly Buffer[], chance: Chance): Buffer {
  let bytes = input;
  for (let left = 1 + chance.below(4); left > 0; left--) bytes = chance.of(MUTATIONS)(bytes, corpus, chance);
  return bytes.subarray(0, LONGEST);
}

type Mutation = (bytes: Buffer, corpus: readonly Buffer[], chance: Chance) => Buffer;

const MUTATIONS: readonly Mutation[] = [
  function flipBit(bytes, _, chance) {
    return change(bytes, chance.below(bytes.length), (byte) => byte ^ (1 << chance.below(8)));
  },
  function setByte(bytes, _, chance) {
    return change(bytes, chance.below(bytes.length), () => chance.below(256));
  },
  function nudgeByte(bytes, _, chance) {
    return change(bytes, chance.below(bytes.length), (byte) => byte + chance.of([-1, 1]));
  },
  function setNumber(bytes, _, chance) {
    const size = chance.of([1, 2, 4]);
    if (bytes.length < size) return bytes;
    const changed = Buffer.from(bytes);
    const number = chance.of(NUMBERS) % 2 ** (8 * size);
    const at = chance.below(bytes.length - size + 1);
    if (chance.below(2) === 0) changed.writeUIntLE(number, at, size);
    else changed.writeUIntBE(number, at, size);
    return changed;
  },
  function cutOut(bytes, _, chance) {
    const [from, to] = range(bytes, chance);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  function cutOff(bytes, _, chance) {
    return bytes.subarray(0, chance.below(bytes.length + 1));
  },
  function repeat(bytes, _, chance) {
    const [from, to] = range(bytes, chance);
    const part = bytes.subarray(from, to);
    const most = Math.floor((LONGEST - bytes.length) / Math.max(part.length, 1));
    const times = Math.min(2 ** chance.below(16), Math.max(most, 0));
    return Buffer.concat([bytes.subarray(0, to), Buffer.alloc(part.length * times, part), bytes.subarray(to)]);
  },
  function insert(bytes, _, chance) {
    const at = chance.below(bytes.length + 1);
    const length = 1 + chance.below(8);
    const random = Buffer.from(Array.from({ length }, () => chance.below(256)));
    return Buffer.concat([bytes.subarray(0, at), random, bytes.subarray(at)]);
  },
  function overwriteFromOther(bytes, corpus, chance) {
    const other = chance.of(corpus);
    const [from, to] = range(other, chance);
    const changed = Buffer.from(bytes);
    other.copy(changed, chance.below(bytes.length), from, to);
    return changed;
  },
  function insertFromOther(bytes, corpus, chance) {
    const other = chance.of(corpus);
    const [from, to] = range(other, chance);
    const at = chance.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), other.subarray(from, to), bytes.subarray(at)]);
  },
];

function change(bytes: Buffer, at: number, to: (byte: number) => number): Buffer {
  const changed = Buffer.from(bytes);
  const before = changed[at];
  if (before !== undefined) changed[at] = to(before);
  return changed;
}

/** Often short. */
function range(bytes: Buffer, chance: Chance): readonly [from: number, to: number] {
  const from = chance.below(bytes.length + 1);
  const length = chance.below(2) === 0 ? chance.below(17) : chance.below(bytes.length + 1);
  return [from, Math.min(from + length, bytes.length)];
}
