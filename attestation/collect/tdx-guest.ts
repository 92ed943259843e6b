import { constants, open } from "node:fs/promises";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import { parseTdReport, type TdReport } from "../tdx/tdreport.ts";
import { asyncIoctl, loadMemory } from "./ioctl.ts";
import { type Hints, kernelRefusal, orRefusal } from "./kernel-refusal.ts";

/**
 * TDREPORTs from /dev/tdx_guest (linux/include/uapi/linux/tdx-guest.h): the TDX module writes them into the VM's own
 * memory. A quote comes by way of the host, who may answer with one of another VM: it says nothing to the VM itself.
 *
 * struct tdx_report_req: reportdata[64], tdreport[1024]
 */
const TDX_CMD_GET_REPORT0 = 0xc440_5401;

const REPORT_DATA = 64;
const REPORT = 1024;

const HINTS: Hints = {
  ENOENT: "load the kernel's tdx-guest; a container needs the device from its guest",
  EACCES: "run as root; a container also needs the device from its guest",
  EPERM: "run as root; a container also needs the device from its guest",
  ENOTTY: "this is not tdx-guest",
};

/**
 * @param reportData 64 bytes
 * @throws EvidenceError tee_unavailable, tee_busy, malformed_report, report_data_mismatch
 */
export async function readTdReport(device: string, reportData: Uint8Array): Promise<TdReport> {
  if (reportData.length !== REPORT_DATA) throw new RangeError(`got ${reportData.length} bytes of report data, want 64`);
  const file = await orRefusal("the device can't be opened", device, HINTS, () => open(device, constants.O_RDWR));
  try {
    const report = parseTdReport(await request(device, file.fd, reportData));
    if (isEqual(report.reportData, reportData)) return report;
    throw new EvidenceError("report_data_mismatch", "the report was made for something else", {
      where: device,
      got: toHex(report.reportData),
      want: toHex(reportData),
    });
  } finally {
    await file.close();
  }
}

async function request(device: string, fd: number, reportData: Uint8Array): Promise<Uint8Array> {
  const { alloc, free, view } = await loadMemory();
  const size = REPORT_DATA + REPORT;
  const address = alloc("uint8", size) as bigint;
  try {
    const memory = Buffer.from(view(address, size)).fill(0);
    memory.set(reportData, 0);
    const failure = await asyncIoctl(fd, TDX_CMD_GET_REPORT0, address);
    if (failure !== 0) throw kernelRefusal("the kernel gives no TDREPORT", device, failure, HINTS);
    return Buffer.from(memory.subarray(REPORT_DATA));
  } finally {
    free(address);
  }
}
