import { load } from "koffi";

/**
 * Runs a command as on a kernel without nf_tables: nobody gets a socket of NETLINK_NETFILTER (seccomp(2), and socket(2) for
 * the error). Arguments: the command.
 */

/** Linux, <linux/prctl.h>, <linux/seccomp.h>, <linux/bpf_common.h>, <linux/netlink.h>; the system call differs. */
const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_RET_ALLOW = 0x7fff_0000;
const SECCOMP_RET_ERRNO = 0x0005_0000;
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ = 0x15;
const BPF_RET = 0x06;
const AF_NETLINK = 16;
const NETLINK_NETFILTER = 12;
const EPROTONOSUPPORT = 93;
const SYS_SOCKET = process.arch === "arm64" ? 198 : 41;

/** struct seccomp_data: the number, the architecture, the instruction pointer, six arguments of 64 bits. */
const NUMBER = 0;
const argument = (index: number): number => 16 + 8 * index;

const equals = (offset: number, value: number, otherwise: number): [number, number, number, number][] => [
  [BPF_LD_W_ABS, 0, 0, offset],
  [BPF_JEQ, 0, otherwise, value],
];
const filter = [
  ...equals(NUMBER, SYS_SOCKET, 5),
  ...equals(argument(0), AF_NETLINK, 3),
  ...equals(argument(2), NETLINK_NETFILTER, 1),
  [BPF_RET, 0, 0, SECCOMP_RET_ERRNO | EPROTONOSUPPORT],
  [BPF_RET, 0, 0, SECCOMP_RET_ALLOW],
] as const;

/** struct sock_filter: code, two jumps, a value. */
const instructions = Buffer.alloc(8 * filter.length);
for (const [index, [code, ifTrue, ifFalse, value]] of filter.entries()) {
  instructions.writeUInt16LE(code, 8 * index);
  instructions.writeUInt8(ifTrue, 8 * index + 2);
  instructions.writeUInt8(ifFalse, 8 * index + 3);
  instructions.writeUInt32LE(value, 8 * index + 4);
}

const library = load(null);
const set = library.func("int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)");
const address = library.func("uint64_t memcpy(const void *to, const void *from, uint64_t length)");
const program = Buffer.alloc(16);
program.writeUInt16LE(filter.length, 0);
program.writeBigUInt64LE(BigInt(address(instructions, instructions, 0) as number | bigint), 8);
const seccomp = library.func(
  "int prctl(int option, unsigned long mode, const void *program, unsigned long c, unsigned long d)",
);
if (set(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error("no_new_privs");
if (seccomp(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) !== 0) throw new Error("seccomp");
const [command = "", ...args] = process.argv.slice(2);
process.execve?.(command, [command, ...args], process.env);
