import koffi from "koffi";
import { Errno } from "./tree.ts";

/** For tests: the memory of another process, which a driver reaches with copy_from_user and copy_to_user. */

const libc = koffi.load(null);
const PARAMETERS =
  "int pid, void *local, unsigned long local_count, void *remote, unsigned long remote_count, unsigned long flags";
const readv = libc.func(`long process_vm_readv(${PARAMETERS})`);
const writev = libc.func(`long process_vm_writev(${PARAMETERS})`);

export function copyFromUser(pid: number, address: bigint, length: number): Buffer {
  return transfer(readv, pid, address, Buffer.alloc(length));
}

export function copyToUser(pid: number, address: bigint, bytes: Buffer): void {
  transfer(writev, pid, address, bytes);
}

function transfer(call: typeof readv, pid: number, address: bigint, bytes: Buffer): Buffer {
  const base = koffi.alloc("uint8", bytes.length) as bigint;
  try {
    const memory = Buffer.from(koffi.view(base, bytes.length));
    memory.set(bytes);
    const count = Number(call(pid, iovec(base, bytes.length), 1, iovec(address, bytes.length), 1, 0));
    if (count !== bytes.length) throw new Errno("EFAULT");
    return Buffer.from(memory);
  } finally {
    koffi.free(base);
  }
}

/** struct iovec: address and length. */
function iovec(address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(address, 0);
  bytes.writeBigUInt64LE(BigInt(length), 8);
  return bytes;
}
