import { makeTdReport } from "../../attestation/tdx/test-tdreport.ts";
import type { Faults } from "./faults.ts";
import { ERRNO, type File } from "./tree.ts";

/** For tests: /dev/tdx_guest as drivers/virt/coco/tdx-guest/tdx-guest.c makes it. */

const TDX_CMD_GET_REPORT0 = 0xc4405401;

/** 32 bytes that the host launched the TD with, and zeros. */
export const TD_CONFIG_ID = Buffer.concat([Buffer.alloc(32, 0xcd), Buffer.alloc(16)]);

export function tdxGuest(faults: Faults): File {
  return {
    mode: 0o600,
    ioctl: async (command, argument) => {
      if (command !== TDX_CMD_GET_REPORT0) return { result: -ERRNO.ENOTTY, argument };
      if (faults.tdReport === "refused") return { result: -ERRNO.EIO, argument };
      const reportData = faults.tdReport === "of others" ? Buffer.alloc(64) : Buffer.from(argument.subarray(0, 64));
      const report = makeTdReport({ reportData, tdAttributes: Buffer.alloc(8), mrConfigId: TD_CONFIG_ID });
      return { result: 0, argument: Buffer.concat([argument.subarray(0, 64), report]) };
    },
  };
}
