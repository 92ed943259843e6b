import { constants } from "node:os";

/** For tests: files and directories that answer for themselves. */

export const { errno: ERRNO } = constants;

/** What an operation throws to be refused by the kernel with this error. */
export class Errno extends Error {
  readonly number: number;

  constructor(name: keyof typeof ERRNO) {
    super(name);
    this.number = ERRNO[name];
  }
}

export interface File {
  readonly mode: number;
  /** The whole content; asked for once after each opening. */
  read?(): Buffer | Promise<Buffer>;
  /** The size beyond which writes are refused. */
  readonly maxWrite?: number;
  /** Everything that was written; given when the file is closed. */
  write?(bytes: Buffer): void;
  /** @returns 0 or a negative error, and the argument as the caller finds it again */
  ioctl?(
    command: number,
    argument: Buffer,
    pid: number,
  ): Promise<{ readonly result: number; readonly argument: Buffer }>;
}

export interface Directory {
  readonly entries: Map<string, File | Directory>;
  make?(name: string): Directory;
  /** It goes, with all that is in it, when it is removed. */
  readonly removable?: boolean;
}
