import { Refusal } from "../../api/refusal.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { damaged } from "../../store/record.ts";
import type { RecordKind, Store } from "../../store/store.ts";

/** For tests: what several Coordinators of one process share. Each opens a view of its own, which can be cut off or lie. */
export class SharedBacking {
  readonly records = new Map<string, Buffer>();
  pointer: Buffer | undefined;
  readonly #watchers = new Set<() => void>();

  open(): SharedStore {
    return new SharedStore(this);
  }

  /** Another world with the same content: what a store shows that lies. */
  fork(): SharedBacking {
    const other = new SharedBacking();
    for (const [name, bytes] of this.records) other.records.set(name, bytes);
    other.pointer = this.pointer;
    return other;
  }

  move(pointer: Buffer | undefined): void {
    this.pointer = pointer;
    for (const watcher of this.#watchers) setImmediate(watcher);
  }

  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    return () => this.#watchers.delete(onChange);
  }
}

export class SharedStore implements Store {
  readonly shared = true;
  backing: SharedBacking;
  /** Whether the store can be reached. */
  isUp = true;
  /** Whether it tells when something changes. */
  tells = true;
  /** Runs before the pointer is moved. */
  beforeSwap: () => Promise<void> = async () => undefined;

  constructor(backing: SharedBacking) {
    this.backing = backing;
  }

  async get(kind: RecordKind, digest: string): Promise<Buffer> {
    this.#requireUp();
    const bytes = this.backing.records.get(`${kind}/${digest}`);
    if (bytes === undefined) throw damaged("a record is missing", { where: `${kind}/${digest}` });
    return Buffer.from(bytes);
  }

  async put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    this.#requireUp();
    const digest = sha256Hex(bytes);
    this.backing.records.set(`${kind}/${digest}`, Buffer.from(bytes));
    return digest;
  }

  async list(kind: RecordKind): Promise<string[]> {
    this.#requireUp();
    return [...this.backing.records.keys()]
      .filter((name) => name.startsWith(`${kind}/`))
      .map((name) => name.slice(kind.length + 1));
  }

  async remove(kind: RecordKind, digest: string): Promise<void> {
    this.#requireUp();
    this.backing.records.delete(`${kind}/${digest}`);
  }

  async latest(): Promise<Buffer | undefined> {
    this.#requireUp();
    return this.backing.pointer && Buffer.from(this.backing.pointer);
  }

  async compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void> {
    await this.beforeSwap();
    this.#requireUp();
    if (this.backing.pointer?.toString("hex") !== expected?.toString("hex")) {
      throw new Refusal("conflict", "the latest transition changed in between", { where: "latest" });
    }
    this.backing.move(Buffer.from(next));
  }

  watch(onChange: () => void): () => void {
    return this.backing.watch(() => {
      if (this.isUp && this.tells) onChange();
    });
  }

  #requireUp(): void {
    if (!this.isUp) throw new Refusal("state_not_written", "the store can't be reached");
  }
}
