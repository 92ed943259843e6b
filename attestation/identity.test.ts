import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { snpLaunch } from "./snp/identity.ts";
import { tdxLaunch } from "./tdx/identity.ts";
import { parseTdReport } from "./tdx/tdreport.ts";
import { makeTdReport } from "./tdx/test-tdreport.ts";

const snp = (policy: bigint) =>
  snpLaunch({ measurement: Buffer.alloc(48, 1), policy } as unknown as Parameters<typeof snpLaunch>[0]);
const tdx = (attributes: bigint) => {
  const tdAttributes = Buffer.alloc(8);
  tdAttributes.writeBigUInt64LE(attributes);
  return tdxLaunch(parseTdReport(makeTdReport({ tdAttributes })));
};

test("a VM that its host may debug or move is exposed", () => {
  expect(snp(0x3_0000n)).toEqual({ measurement: "01".repeat(48), exposed: false });
  for (const bit of [18n, 19n]) expect(snp(0x3_0000n | (1n << bit)).exposed, `POLICY bit ${bit}`).toBe(true);
  expect(tdx(1n << 28n).exposed).toBe(false);
  for (const bit of [0n, 7n, 29n]) expect(tdx(1n << bit).exposed, `TDATTRIBUTES bit ${bit}`).toBe(true);
});

test("the measurement of a TD is over MRTD and all four RTMRs, in their order", () => {
  const registers = [9, 13, 14, 15, 16].map((byte) => Buffer.alloc(48, byte));
  expect(tdx(0n).measurement).toBe(createHash("sha384").update(Buffer.concat(registers)).digest("hex"));
});
