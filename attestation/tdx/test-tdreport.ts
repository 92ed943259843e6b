import { createHash } from "node:crypto";

/**
 * For tests: a TDREPORT whose every field has bytes of its own, and whose reserved bytes are zero. Its MAC is made up: who
 * reads it can't check that.
 */
export function makeTdReport({
  version = 1,
  reportData = Buffer.alloc(64, 19),
  tdAttributes = Buffer.alloc(8, 7),
  mrConfigId = Buffer.alloc(48, 10),
} = {}): Uint8Array {
  const field = (length: number, byte: number): Uint8Array => Buffer.alloc(length, byte);
  const tcb = [field(8, 1), field(16, 2), field(48, 3), field(48, 4), field(8, 5), field(16, 6), field(95, 0)];
  const digests = [11, 12, 13, 14, 15, 16, 17].map((byte) => field(48, byte));
  const [tcbInfo, tdInfo] = [
    Buffer.concat(tcb),
    Buffer.concat([tdAttributes, field(8, 8), field(48, 9), mrConfigId, ...digests, field(64, 0)]),
  ];
  const hash = (bytes: Uint8Array): Uint8Array => createHash("sha384").update(bytes).digest();
  return Buffer.concat([
    Buffer.of(0x81, 0, version, 0),
    field(12, 0),
    field(16, 18),
    hash(tcbInfo),
    hash(tdInfo),
    reportData,
    field(32, 0),
    field(32, 20),
    tcbInfo,
    field(17, 0),
    tdInfo,
  ]);
}
