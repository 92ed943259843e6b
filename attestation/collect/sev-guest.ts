import { constants, type FileHandle, open } from "node:fs/promises";
import { constants as system } from "node:os";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { littleEndian } from "../../bytes/numbers.ts";
import { EvidenceError } from "../error.ts";
import { REPORT_SIZE } from "../snp/report.ts";
import { type Waiting, whileBusy } from "./busy.ts";
import { type GuestAnswer, requestReport } from "./guest-request.ts";
import { type Hints, kernelRefusal, orRefusal } from "./kernel-refusal.ts";

/** Reports from /dev/sev-guest (Linux, Documentation/virt/coco/sev-guest.rst), for kernels without configfs-tsm. */
export interface SevGuestReport {
  readonly report: Uint8Array;
  /** The certificate table of the host; empty or zero where it gives none. */
  readonly certificateTable: Uint8Array;
}

const PAGE_SIZE = 4096;
/** SEV_FW_BLOB_MAX_SIZE, the most that kernels take so far. */
const FIRST_CERTIFICATE_SIZE = 16 * 1024;
const MAX_CERTIFICATE_SIZE = 1024 * 1024;
const MAX_GROWTHS = 2;

/** SNP_GUEST_VMM_ERR_* of the header. */
const VMM_INVALID_LENGTH = 1;
const VMM_BUSY = 2;

/** SEV_RET_NO_FW_CALL of newer and older kernels: the error came before the firmware was asked. */
const NO_FIRMWARE_CALL: ReadonlySet<number> = new Set([0, 0xff, 0xffff_ffff]);

const { EINVAL, EIO, ENOTTY, ETIMEDOUT } = system.errno;

const HINTS: Hints = {
  ENOENT: "load the kernel's sev-guest, or start this in a confidential VM; a container needs the device from its host",
  ENODEV: "load the kernel's sev-guest, or start this in a confidential VM",
  ENXIO: "load the kernel's sev-guest, or start this in a confidential VM",
  EACCES: "run as root; a container also needs the device from its host",
  EPERM: "run as root; a container also needs the device from its host",
  EINVAL: "the kernel does not know this request: update it",
  ENOTTY: "this is not sev-guest, or after an earlier error the kernel no longer talks to it: restart the VM",
};

/** @throws EvidenceError tee_unavailable */
export async function checkSevGuest(device: string): Promise<void> {
  await (await openDevice(device)).close();
}

/**
 * @param reportData 64 bytes
 * @throws EvidenceError tee_unavailable, tee_busy, firmware_error
 */
export function collectSevGuestReport(
  device: string,
  reportData: Uint8Array,
  waiting: Waiting,
): Promise<SevGuestReport> {
  if (reportData.length !== 64) throw new RangeError(`got ${reportData.length} bytes of report data, want 64`);
  return whileBusy(async () => {
    const file = await openDevice(device);
    try {
      return await extendedReport(device, file.fd, reportData);
    } finally {
      await file.close();
    }
  }, waiting);
}

function openDevice(device: string): Promise<FileHandle> {
  return orRefusal("the device can't be opened", device, HINTS, () => open(device, constants.O_RDWR));
}

async function extendedReport(device: string, fd: number, reportData: Uint8Array): Promise<SevGuestReport> {
  let size = FIRST_CERTIFICATE_SIZE;
  for (let growths = 0; ; growths++) {
    const answer = await requestReport(fd, reportData, size);
    if (answer.errno === 0) return { report: readReport(device, answer), certificateTable: answer.certificates };
    // The kernel knows no extended requests, or takes no buffer of this size: the verifier finds the certificates itself.
    if (answer.errno === -ENOTTY || answer.errno === -EINVAL) return plainReport(device, fd, reportData);
    const needed = answer.certificateSize;
    const canGrow = needed > size && needed <= MAX_CERTIFICATE_SIZE && needed % PAGE_SIZE === 0;
    const tooSmall = answer.errno === -EIO && answer.vmmError === VMM_INVALID_LENGTH;
    if (!tooSmall || !canGrow || growths === MAX_GROWTHS) throw refusal(device, answer);
    size = needed;
  }
}

async function plainReport(device: string, fd: number, reportData: Uint8Array): Promise<SevGuestReport> {
  const answer = await requestReport(fd, reportData, undefined);
  if (answer.errno !== 0) throw refusal(device, answer);
  return { report: readReport(device, answer), certificateTable: Buffer.alloc(0) };
}

function refusal(device: string, { errno, firmwareError, vmmError, certificateSize }: GuestAnswer): EvidenceError {
  const firmware = NO_FIRMWARE_CALL.has(firmwareError) ? 0 : firmwareError;
  if (firmware === 0 && vmmError === 0) {
    return kernelRefusal("the kernel does not give a report", device, errno, HINTS);
  }
  // After a time-out the kernel has already waited for a minute, and given up for good.
  const busy = firmware === 0 && vmmError === VMM_BUSY && errno !== -ETIMEDOUT;
  const needed = vmmError === VMM_INVALID_LENGTH ? `, certificate buffer of ${certificateSize} bytes wanted` : "";
  return new EvidenceError(busy ? "tee_busy" : "firmware_error", "the host does not give a report", {
    where: device,
    got:
      `${getSystemErrorName(errno)}, ${getSystemErrorMessage(errno)}, ` +
      `firmware error 0x${firmware.toString(16)}, VMM error ${vmmError}${needed}`,
    hint: busy
      ? "the host limits the rate of requests: try again later"
      : "look up the firmware error among the SEV_RET codes of linux/psp-sev.h and see the kernel's log; after such " +
        "an error the kernel may take no more requests: restart the VM",
  });
}

/** MSG_REPORT_RSP of the firmware ABI: status u32, report size u32, 24 reserved bytes, report. */
function readReport(device: string, { response }: GuestAnswer): Uint8Array {
  const status = littleEndian(response, 0, 4);
  const size = littleEndian(response, 4, 4);
  if (status !== 0 || size !== REPORT_SIZE) {
    throw new EvidenceError("firmware_error", "the secure processor does not give a report", {
      where: device,
      got: `status 0x${status.toString(16)}, report of ${size} bytes`,
      want: `status 0x0, report of ${REPORT_SIZE} bytes`,
      hint: "look up the status in AMD's firmware ABI (0x16: this VM may not ask for VMPL 0); update firmware or program",
    });
  }
  return Buffer.from(response.subarray(32, 32 + size));
}
