import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Refusal } from "../api/refusal.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { makeDirectory, replaceFile, syncDirectory } from "../runtime/files.ts";
import { SerialQueue } from "../runtime/serial-queue.ts";
import { damaged, decodeRecord, encodeRecord } from "./record.ts";
import { type Holder, lockState, type StateLock } from "./state-lock.ts";
import { RECORD_KINDS, type RecordKind, type Store } from "./store.ts";

/**
 * A store in a directory of its own, for one process: a folder for each kind of record, and the file `latest`. Files
 * appear as a whole and are on the disk before anything names them, so a crash leaves the old pointer or the new one,
 * each with all it points to.
 *
 * `latest` is there before the folders are. It says "none" until it is first moved: without it, a directory that has
 * folders has lost its pointer, and is not taken for a new one.
 */
export class FileStore implements Store {
  readonly shared = false;
  readonly #directory: string;
  readonly #lock: StateLock;
  /** The pointer as it was last read or written here. */
  #seen: string | undefined;
  /** The pointer is read and written by one at a time, so that a move of our own is not taken for somebody else's. */
  readonly #queue = new SerialQueue();

  private constructor(directory: string, lock: StateLock) {
    this.#directory = directory;
    this.#lock = lock;
  }

  /** @throws Refusal `state_locked`, `lock_unavailable`; `state_not_written` where the directory can't be made */
  static async open(directory: string, holder: Holder): Promise<FileStore> {
    const lock = await written(directory, async () => {
      await makeDirectory(directory, 0o700);
      return lockState(directory, holder);
    });
    try {
      await written(directory, () => prepare(directory));
    } catch (error) {
      lock.release();
      throw error;
    }
    return new FileStore(directory, lock);
  }

  /** Reads what is there, also while another process has the directory: what its pointer leads to does not change. */
  static reader(directory: string): Pick<Store, "get" | "latest"> {
    return new FileStore(directory, { release: () => undefined });
  }

  /** Lets another store have the directory. This one must not be used any more. A process that ends need not call it. */
  close(): void {
    this.#lock.release();
  }

  async get(kind: RecordKind, digest: string): Promise<Buffer> {
    const record = `${kind}/${digest}`;
    const payload = decodeRecord(kind, await this.#read(record), record);
    const actual = sha256Hex(payload);
    if (actual === digest) return payload;
    throw damaged("a record of the state is not what its name says", { where: record, got: `SHA-256 ${actual}` });
  }

  async put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    const digest = sha256Hex(bytes);
    const record = `${kind}/${digest}`;
    await written(record, () => replaceFile(join(this.#directory, record), encodeRecord(kind, bytes), 0o600));
    return digest;
  }

  async list(kind: RecordKind): Promise<string[]> {
    try {
      return (await readdir(join(this.#directory, kind))).filter((name) => DIGEST.test(name));
    } catch (cause) {
      throw unreadable(kind, cause);
    }
  }

  async remove(kind: RecordKind, digest: string): Promise<void> {
    const record = `${kind}/${digest}`;
    await written(record, () => rm(join(this.#directory, record), { force: true }));
  }

  latest(): Promise<Buffer | undefined> {
    return this.#queue.run(async () => {
      const latest = await this.#readLatest();
      this.#seen = textOf(latest);
      return latest;
    });
  }

  compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void> {
    return this.#queue.run(async () => {
      if (textOf(await this.#readLatest()) !== textOf(expected)) {
        throw new Refusal("conflict", "the latest transition changed in between", { where: "latest" });
      }
      await written("latest", () => writeLatest(this.#directory, next));
      this.#seen = textOf(next);
    });
  }

  watch(onChange: () => void): () => void {
    // What was found instead of what: one change is told once.
    let told = "";
    // By looking, not by inotify: that says nothing of network file systems and of a directory that was replaced.
    const look = async (): Promise<void> => {
      const found = await this.#readLatest().then(textOf, () => "unreadable");
      const difference = `${found} instead of ${this.#seen}`;
      if (found !== this.#seen && difference !== told) onChange();
      told = difference;
      timer.refresh();
    };
    const timer = setTimeout(() => void this.#queue.run(look), WATCH_MS).unref();
    return () => clearTimeout(timer);
  }

  async #readLatest(): Promise<Buffer | undefined> {
    const payload = decodeRecord("latest", await this.#read("latest"), "latest");
    return payload.length === 0 ? undefined : payload;
  }

  async #read(record: string): Promise<Buffer> {
    try {
      return await readFile(join(this.#directory, record));
    } catch (cause) {
      throw unreadable(record, cause);
    }
  }
}

const WATCH_MS = 1000;

const DIGEST = /^[0-9a-f]{64}$/;

/** What a crash leaves of a file that had not got its name yet. */
const LEFTOVER = /^(?:[0-9a-f]{64}|latest)\.[0-9a-f]{12}\.tmp$/;

/** Makes what is not there yet, and clears away what a crash left. */
async function prepare(directory: string): Promise<void> {
  const entries = await readdir(directory);
  const folders = RECORD_KINDS.filter((kind) => entries.includes(kind));
  if (folders.length === 0 && !entries.includes("latest")) await writeLatest(directory, Buffer.alloc(0));
  for (const kind of RECORD_KINDS) await mkdir(join(directory, kind), { recursive: true, mode: 0o700 });
  await syncDirectory(directory);
  for (const folder of [directory, ...folders.map((kind) => join(directory, kind))]) {
    for (const name of await readdir(folder)) if (LEFTOVER.test(name)) await rm(join(folder, name));
  }
}

function writeLatest(directory: string, payload: Buffer): Promise<void> {
  return replaceFile(join(directory, "latest"), encodeRecord("latest", payload), 0o600);
}

async function written<T>(where: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal("state_not_written", "the state can't be written, so it stays as it was", {
      where,
      got: (cause as NodeJS.ErrnoException).code,
      hint: "make room, or make CONTRAST_STATE_DIR writable, then try again",
      cause,
    });
  }
}

function unreadable(where: string, cause: unknown): Refusal {
  const got = (cause as NodeJS.ErrnoException).code ?? "an error";
  return damaged("a record of the state is missing or can't be read", { where, got, cause });
}

function textOf(latest: Buffer | undefined): string {
  return latest?.toString("hex") ?? "none";
}
