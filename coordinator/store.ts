import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Refusal } from "../api/refusal.ts";
import { replaceFile } from "../runtime/files.ts";

/** What the history is made of: immutable records by content, and one pointer that moves. */
export interface Store {
  /**
   * @param digest SHA-256 of the record, hex
   * @throws Refusal `damaged_state` where the record is missing or is not what its name says
   */
  get(kind: RecordKind, digest: string): Promise<Buffer>;
  /** @returns the SHA-256 of the record, hex */
  put(kind: RecordKind, bytes: Uint8Array): Promise<string>;
  /** @returns undefined where there is none yet */
  latest(): Promise<Buffer | undefined>;
  /** @throws Refusal `conflict` where the pointer is not `expected` */
  compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void>;
}

export const RECORD_KINDS = ["manifests", "policies", "transitions"] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/** A store in a directory of its own, for one process. */
export class FileStore implements Store {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @throws Refusal `state_not_written` where the directory can't be made */
  static async open(directory: string): Promise<FileStore> {
    try {
      for (const kind of RECORD_KINDS) await mkdir(join(directory, kind), { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw notWritten(directory, cause);
    }
    return new FileStore(directory);
  }

  async get(kind: RecordKind, digest: string): Promise<Buffer> {
    const record = `${kind}/${digest}`;
    const bytes = await readFile(join(this.#directory, kind, digest)).catch((cause: unknown) => {
      throw new Refusal("damaged_state", "a record of the history can't be read", { where: record, cause });
    });
    const actual = sha256(bytes);
    if (actual !== digest) {
      throw new Refusal("damaged_state", "a record of the history is not what its name says", {
        where: record,
        got: `SHA-256 ${actual}`,
        want: digest,
      });
    }
    return bytes;
  }

  async put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    const digest = sha256(bytes);
    await this.#write(join(kind, digest), bytes);
    return digest;
  }

  async latest(): Promise<Buffer | undefined> {
    try {
      return await readFile(join(this.#directory, "latest"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void> {
    const current = await this.latest();
    const same = current === undefined || expected === undefined ? current === expected : current.equals(expected);
    if (!same) throw new Refusal("conflict", "the latest transition changed in between", { where: "latest" });
    await this.#write("latest", next);
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    try {
      await replaceFile(join(this.#directory, name), bytes, 0o600);
    } catch (cause) {
      throw notWritten(name, cause);
    }
  }
}

function notWritten(where: string, cause: unknown): Refusal {
  return new Refusal("state_not_written", "the state can't be written, so it stays as it was", {
    where,
    got: (cause as NodeJS.ErrnoException).code,
    hint: "make room, or make CONTRAST_STATE_DIR writable, then try again",
    cause,
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
