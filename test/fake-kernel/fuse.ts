import koffi from "koffi";
import { openSync, read, writeSync } from "node:fs";
import { type Directory, ERRNO, Errno, type File } from "./tree.ts";

/**
 * For tests: as much of a FUSE server as small files in fixed directories need (linux/include/uapi/linux/fuse.h,
 * protocol 7.31). It needs root and /dev/fuse.
 */

type Inode = File | Directory;

interface Handle {
  content?: Buffer;
  written?: Buffer;
}

interface Request {
  readonly inode: number;
  readonly pid: number;
  readonly body: Buffer;
}

const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  mkdir: 9,
  rmdir: 11,
  open: 14,
  read: 15,
  write: 16,
  release: 18,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  interrupt: 36,
  ioctl: 39,
  batchForget: 42,
} as const;

const NO_REPLY: ReadonlySet<number> = new Set([OPCODE.forget, OPCODE.interrupt, OPCODE.batchForget]);
const MAX_WRITE = 65_536;
const FOPEN_DIRECT_IO = 1;
const MNT_DETACH = 2;
const MS_NOSUID_NODEV = 2 | 4;

export class FuseServer {
  readonly #mountPoint: string;
  readonly #device: number;
  readonly #inodes = new Map<number, Inode>();
  readonly #numbers = new Map<Inode, number>();
  readonly #handles = new Map<bigint, Handle>();
  #nextHandle = 1n;
  #nextInode = 1;

  /** Mounts. @param mountPoint an empty directory */
  constructor(mountPoint: string, root: Directory) {
    this.#mountPoint = mountPoint;
    this.#number(root);
    this.#device = openSync("/dev/fuse", "r+");
    const mount = koffi
      .load(null)
      .func(
        "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
      );
    const options = `fd=${this.#device},rootmode=40000,user_id=0,group_id=0`;
    if (mount("fake-kernel", mountPoint, "fuse.fake-kernel", MS_NOSUID_NODEV, options) !== 0) {
      throw new Error(`mount: errno ${koffi.errno()}`);
    }
  }

  /** Serves until it is unmounted. */
  async serve(): Promise<void> {
    const buffer = Buffer.alloc(MAX_WRITE + 4096);
    for (;;) {
      const length = await new Promise<number>((resolve, reject) => {
        read(this.#device, buffer, 0, buffer.length, null, (error, count) => {
          if (error === null) resolve(count);
          else if (error.code === "ENODEV") resolve(0);
          else if (error.code === "EINTR" || error.code === "ENOENT" || error.code === "EAGAIN") resolve(-1);
          else reject(error);
        });
      });
      if (length === 0) return;
      if (length > 0) void this.#answer(Buffer.from(buffer.subarray(0, length)));
    }
  }

  unmount(): void {
    koffi.load(null).func("int umount2(const char *target, int flags)")(this.#mountPoint, MNT_DETACH);
  }

  async #answer(message: Buffer): Promise<void> {
    const opcode = message.readUInt32LE(4);
    if (NO_REPLY.has(opcode)) return;
    const inode = Number(message.readBigUInt64LE(16));
    let error = 0;
    let body: Buffer = Buffer.alloc(0);
    try {
      body = await this.#handle(opcode, { inode, pid: message.readUInt32LE(32), body: message.subarray(40) });
    } catch (thrown) {
      error = thrown instanceof Errno ? thrown.number : ERRNO.EIO;
      if (!(thrown instanceof Errno)) process.stderr.write(`fake kernel: ${String(thrown)}\n`);
    }
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + body.length, 0);
    header.writeInt32LE(-error, 4);
    message.copy(header, 8, 8, 16);
    try {
      writeSync(this.#device, Buffer.concat([header, body]));
    } catch {
      // The one who asked is gone, or the file system is.
    }
  }

  #handle(opcode: number, request: Request): Buffer | Promise<Buffer> {
    const { body } = request;
    switch (opcode) {
      case OPCODE.init:
        return initReply(body);
      case OPCODE.lookup:
        return this.#entry(this.#child(request.inode, cString(body)));
      case OPCODE.getattr:
      case OPCODE.setattr:
        return Buffer.concat([Buffer.alloc(16), this.#attributes(this.#inode(request.inode))]);
      case OPCODE.mkdir:
        return this.#makeDirectory(request.inode, cString(body.subarray(8)));
      case OPCODE.rmdir:
        return this.#removeDirectory(request.inode, cString(body));
      case OPCODE.open:
        return this.#open(request);
      case OPCODE.read:
        return this.#read(request);
      case OPCODE.write:
        return this.#write(request);
      case OPCODE.flush:
        return this.#flush(request);
      case OPCODE.release:
        this.#handles.delete(body.readBigUInt64LE(0));
        return Buffer.alloc(0);
      case OPCODE.opendir:
        return Buffer.alloc(16);
      case OPCODE.releasedir:
        return Buffer.alloc(0);
      case OPCODE.readdir:
        return this.#readDirectory(request);
      case OPCODE.ioctl:
        return this.#ioctl(request);
      default:
        throw new Errno("ENOSYS");
    }
  }

  #number(inode: Inode): number {
    const known = this.#numbers.get(inode);
    if (known !== undefined) return known;
    const number = this.#nextInode++;
    this.#numbers.set(inode, number);
    this.#inodes.set(number, inode);
    return number;
  }

  #inode(number: number): Inode {
    const inode = this.#inodes.get(number);
    if (inode === undefined) throw new Errno("ENOENT");
    return inode;
  }

  #directory(number: number): Directory {
    const inode = this.#inode(number);
    if (!("entries" in inode)) throw new Errno("ENOTDIR");
    return inode;
  }

  #file(number: number): File {
    const inode = this.#inode(number);
    if ("entries" in inode) throw new Errno("EISDIR");
    return inode;
  }

  #child(number: number, name: string): Inode {
    const child = this.#directory(number).entries.get(name);
    if (child === undefined) throw new Errno("ENOENT");
    return child;
  }

  /** struct fuse_attr. Text of configfs has the size of a page, whatever is in it. */
  #attributes(inode: Inode): Buffer {
    const attributes = Buffer.alloc(88);
    const isDirectory = "entries" in inode;
    attributes.writeBigUInt64LE(BigInt(this.#number(inode)), 0);
    attributes.writeUInt32LE(isDirectory ? 0o40755 : 0o100000 | inode.mode, 60);
    attributes.writeUInt32LE(isDirectory ? 2 : 1, 64);
    attributes.writeUInt32LE(4096, 80);
    return attributes;
  }

  /** struct fuse_entry_out, valid for no time: directories come and go. */
  #entry(inode: Inode): Buffer {
    const head = Buffer.alloc(40);
    head.writeBigUInt64LE(BigInt(this.#number(inode)), 0);
    return Buffer.concat([head, this.#attributes(inode)]);
  }

  #makeDirectory(number: number, name: string): Buffer {
    const parent = this.#directory(number);
    if (parent.make === undefined) throw new Errno("EPERM");
    if (parent.entries.has(name)) throw new Errno("EEXIST");
    const made = parent.make(name);
    parent.entries.set(name, made);
    return this.#entry(made);
  }

  #removeDirectory(number: number, name: string): Buffer {
    const child = this.#child(number, name);
    if (!("entries" in child) || child.removable !== true) throw new Errno("EPERM");
    this.#directory(number).entries.delete(name);
    return Buffer.alloc(0);
  }

  #open({ inode, body }: Request): Buffer {
    const file = this.#file(inode);
    const access = body.readUInt32LE(0) & 3;
    if (access !== 1 && file.read === undefined && file.ioctl === undefined) throw new Errno("EACCES");
    if (access !== 0 && file.write === undefined && file.ioctl === undefined) throw new Errno("EACCES");
    const handle = this.#nextHandle++;
    this.#handles.set(handle, {});
    const reply = Buffer.alloc(16);
    reply.writeBigUInt64LE(handle, 0);
    reply.writeUInt32LE(FOPEN_DIRECT_IO, 8);
    return reply;
  }

  #opened(body: Buffer): Handle {
    const handle = this.#handles.get(body.readBigUInt64LE(0));
    if (handle === undefined) throw new Errno("EBADF");
    return handle;
  }

  async #read({ inode, body }: Request): Promise<Buffer> {
    const file = this.#file(inode);
    if (file.read === undefined) throw new Errno("EINVAL");
    const handle = this.#opened(body);
    handle.content ??= await file.read();
    const offset = Number(body.readBigUInt64LE(8));
    return handle.content.subarray(offset, offset + body.readUInt32LE(16));
  }

  #write({ inode, body }: Request): Buffer {
    const file = this.#file(inode);
    const handle = this.#opened(body);
    const offset = Number(body.readBigUInt64LE(8));
    const size = body.readUInt32LE(16);
    if (file.maxWrite !== undefined && offset + size > file.maxWrite) throw new Errno("EFBIG");
    handle.written = Buffer.concat([handle.written ?? Buffer.alloc(0)], offset + size);
    body.copy(handle.written, offset, 40, 40 + size);
    const reply = Buffer.alloc(8);
    reply.writeUInt32LE(size, 0);
    return reply;
  }

  /** close() waits for this and not for the release, by which configfs hands the bytes on. It ignores the result. */
  #flush({ inode, body }: Request): Buffer {
    const handle = this.#opened(body);
    const { written } = handle;
    delete handle.written;
    if (written !== undefined) this.#file(inode).write?.(written);
    return Buffer.alloc(0);
  }

  #readDirectory({ inode, body }: Request): Buffer {
    const directory = this.#directory(inode);
    const size = body.readUInt32LE(16);
    const names: [string, Inode][] = [[".", directory], ["..", directory], ...directory.entries];
    const parts: Buffer[] = [];
    let length = 0;
    for (let index = Number(body.readBigUInt64LE(8)); index < names.length; index++) {
      const [name = "", entry = directory] = names[index] ?? [];
      const bytes = Buffer.from(name);
      const part = Buffer.alloc((24 + bytes.length + 7) & ~7);
      part.writeBigUInt64LE(BigInt(this.#number(entry)), 0);
      part.writeBigUInt64LE(BigInt(index + 1), 8);
      part.writeUInt32LE(bytes.length, 16);
      part.writeUInt32LE("entries" in entry ? 4 : 8, 20);
      bytes.copy(part, 24);
      length += part.length;
      if (length > size) break;
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  /** A negative result goes into the reply and not into its header: only so the argument is handed back, too. */
  async #ioctl({ inode, body, pid }: Request): Promise<Buffer> {
    const file = this.#file(inode);
    if (file.ioctl === undefined) throw new Errno("ENOTTY");
    const size = body.readUInt32LE(24);
    const { result, argument } = await file.ioctl(body.readUInt32LE(12), body.subarray(32, 32 + size), pid);
    const head = Buffer.alloc(16);
    head.writeInt32LE(result, 0);
    return Buffer.concat([head, argument]);
  }
}

/** struct fuse_init_out. */
function initReply(body: Buffer): Buffer {
  const reply = Buffer.alloc(64);
  reply.writeUInt32LE(7, 0);
  reply.writeUInt32LE(31, 4);
  reply.writeUInt32LE(body.readUInt32LE(8), 8);
  reply.writeUInt16LE(16, 16);
  reply.writeUInt16LE(12, 18);
  reply.writeUInt32LE(MAX_WRITE, 20);
  reply.writeUInt32LE(1, 24);
  return reply;
}

function cString(bytes: Buffer): string {
  return bytes.subarray(0, bytes.indexOf(0)).toString();
}
