import { Cursor } from "../../bytes/cursor.ts";
import { asyncIoctl, loadMemory } from "./ioctl.ts";

/**
 * The ioctls of /dev/sev-guest (linux/include/uapi/linux/sev-guest.h), all little-endian:
 *
 * - struct snp_guest_request_ioctl: msg_version u8, 7 bytes of padding, req_data u64, resp_data u64, fw_error u32,
 *   vmm_error u32
 * - struct snp_report_req: user_data[64], vmpl u32, rsvd[28]
 * - struct snp_ext_report_req: snp_report_req, certs_address u64, certs_len u32, 4 bytes of padding
 * - struct snp_report_resp: data[4000]
 */

const SNP_GET_REPORT = 0xc020_5300;
const SNP_GET_EXT_REPORT = 0xc020_5302;
const MESSAGE_VERSION = 1;

const ARGUMENT_SIZE = 32;
const REQUEST_SIZE = 112;
const RESPONSE_SIZE = 4000;
const CERTS_LEN = 104;

export interface GuestAnswer {
  /** 0, or an error as Node gives it: negative. */
  readonly errno: number;
  readonly firmwareError: number;
  readonly vmmError: number;
  /** Of the certificate buffer: what was asked for, or what it takes. */
  readonly certificateSize: number;
  /** 4000 bytes. */
  readonly response: Uint8Array;
  readonly certificates: Uint8Array;
}

/**
 * Asks for a report of VMPL 0, on another thread: the kernel may wait for the secure processor, or for the host, for a
 * minute.
 *
 * @param reportData 64 bytes
 * @param certificateSize size of the buffer for the host's certificate table, in bytes, whole pages; undefined: without
 */
export async function requestReport(
  fd: number,
  reportData: Uint8Array,
  certificateSize: number | undefined,
): Promise<GuestAnswer> {
  const { alloc, free, view } = await loadMemory();
  const size = ARGUMENT_SIZE + REQUEST_SIZE + RESPONSE_SIZE + (certificateSize ?? 0);
  // The kernel follows addresses: memory of C does not move.
  const base = alloc("uint8", size) as bigint;
  try {
    const memory = Buffer.from(view(base, size)).fill(0);
    const argument = memory.subarray(0, ARGUMENT_SIZE);
    const request = memory.subarray(ARGUMENT_SIZE, ARGUMENT_SIZE + REQUEST_SIZE);
    const requestAddress = base + BigInt(ARGUMENT_SIZE);
    const responseAddress = requestAddress + BigInt(REQUEST_SIZE);
    argument.writeUInt8(MESSAGE_VERSION, 0);
    argument.writeBigUInt64LE(requestAddress, 8);
    argument.writeBigUInt64LE(responseAddress, 16);
    request.set(reportData, 0);
    request.writeBigUInt64LE(responseAddress + BigInt(RESPONSE_SIZE), 96);
    request.writeUInt32LE(certificateSize ?? 0, CERTS_LEN);
    const command = certificateSize === undefined ? SNP_GET_REPORT : SNP_GET_EXT_REPORT;
    const failure = await asyncIoctl(fd, command, base);
    const answer = new Cursor(memory, 24);
    const firmwareError = answer.u32le("fw_error");
    const vmmError = answer.u32le("vmm_error");
    const rest = new Cursor(memory, ARGUMENT_SIZE + REQUEST_SIZE);
    return {
      errno: failure,
      firmwareError,
      vmmError,
      certificateSize: request.readUInt32LE(CERTS_LEN),
      response: rest.bytes(RESPONSE_SIZE, "response"),
      certificates: rest.bytes(certificateSize ?? 0, "certificates"),
    };
  } finally {
    free(base);
  }
}
