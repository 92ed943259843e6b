import { u16le, u32le } from "../../bytes/numbers.ts";

/** For tests: the log of a guest's firmware. */

export interface EventSpec {
  /** 1 to 4 are RTMR0 to RTMR3. */
  readonly index: number;
  readonly type: number;
  /** 48 bytes. */
  readonly digest: Buffer;
  readonly data?: Buffer;
}

/** @param rest bytes behind the last event */
export function makeEventLog(events: readonly EventSpec[], rest = Buffer.alloc(64, 0xff)): Buffer {
  const algorithms = Buffer.concat([u32le(1), u16le(12), u16le(48)]);
  const spec = Buffer.concat([Buffer.from("Spec ID Event03\0"), Buffer.alloc(8), algorithms, Buffer.of(0)]);
  const header = Buffer.concat([u32le(1), u32le(3), Buffer.alloc(20), u32le(spec.length), spec]);
  const encoded = events.map(({ index, type, digest, data = Buffer.alloc(0) }) =>
    Buffer.concat([u32le(index), u32le(type), u32le(1), u16le(12), digest, u32le(data.length), data]),
  );
  return Buffer.concat([header, ...encoded, rest]);
}
