import { ERRNO, type File } from "./tree.ts";
import { type Faults, spend } from "./faults.ts";
import type { Host } from "./host.ts";
import { copyFromUser, copyToUser } from "./process-memory.ts";

/** For tests: /dev/sev-guest as drivers/virt/coco/sev-guest/sev-guest.c makes it. */

const SNP_GET_REPORT = 0xc0205300;
const SNP_GET_EXT_REPORT = 0xc0205302;
const VMM_INVALID_LENGTH = 1;
const VMM_BUSY = 2;
const NO_FIRMWARE_CALL = 0xff;

export function sevGuest(host: Host, faults: Faults): File {
  return {
    mode: 0o600,
    ioctl: async (command, argument, pid) => {
      const reply = Buffer.from(argument);
      const fail = (errno: keyof typeof ERRNO, firmwareError: number, vmmError = 0) => {
        reply.writeUInt32LE(firmwareError, 24);
        reply.writeUInt32LE(vmmError, 28);
        return { result: -ERRNO[errno], argument: reply };
      };
      const extended = command === SNP_GET_EXT_REPORT;
      if (command !== SNP_GET_REPORT && !(extended && faults.extendedReports)) return fail("ENOTTY", NO_FIRMWARE_CALL);
      if (argument.readUInt8(0) === 0) return fail("EINVAL", 0);
      const requestAddress = argument.readBigUInt64LE(8);
      const request = copyFromUser(pid, requestAddress, extended ? 112 : 96);
      // Anything else would make another report than the one that was asked for.
      if (request.subarray(64, 96).some((byte) => byte !== 0)) return fail("EIO", 0x16);
      const buffer = extended ? request.readUInt32LE(104) : 0;
      if (buffer > faults.maxCertificateBuffer || buffer % 4096 !== 0) return fail("EINVAL", NO_FIRMWARE_CALL);
      if (spend(faults, "rateLimited")) return fail("EIO", 0, VMM_BUSY);
      // Also without a buffer: that is how a caller asks for the size.
      if (extended && buffer < faults.tableSize) {
        request.writeUInt32LE(faults.tableSize, 104);
        copyToUser(pid, requestAddress, request);
        return fail("EIO", 0, VMM_INVALID_LENGTH);
      }
      if (faults.firmwareError !== 0) return fail("EIO", faults.firmwareError);
      if (buffer > 0) {
        const table = Buffer.concat([await host.certificateTable()], buffer);
        copyToUser(pid, request.readBigUInt64LE(96), table);
      }
      const report = await host.report(request.subarray(0, 64));
      const response = Buffer.alloc(4000);
      response.writeUInt32LE(faults.status, 0);
      if (faults.status === 0) {
        response.writeUInt32LE(report.length, 4);
        report.copy(response, 32);
      }
      copyToUser(pid, argument.readBigUInt64LE(16), response);
      return { result: 0, argument: reply };
    },
  };
}
