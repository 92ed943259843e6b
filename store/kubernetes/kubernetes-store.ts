import { Refusal } from "../../api/refusal.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { ApiClient, type ApiPlace } from "../../kubernetes/api/client.ts";
import { SerialQueue } from "../../runtime/serial-queue.ts";
import { damaged, decodeRecord, encodeRecord } from "../record.ts";
import type { Named, RecordKind, Store } from "../store.ts";
import { ConfigMaps } from "./config-maps.ts";
import { type ConfigMap, holds, MAX_OBJECT, MOST_PARTS, type NewObject, Objects, PART } from "./objects.ts";
import { Sweeper } from "./sweep.ts";
import { watchPointer } from "./watch.ts";

export interface KubernetesStoreOptions {
  readonly place: ApiPlace;
  readonly namespace: string;
  /** Of the state, a DNS label: the prefix of its objects. */
  readonly name: string;
  readonly random: (length: number) => Buffer;
  readonly sleep: (ms: number) => Promise<unknown>;
  /** Milliseconds of a clock that only goes forward. */
  readonly monotonic: () => number;
  /** How old has to be what is swept away, in milliseconds; undefined: an hour. */
  readonly sweepAgeMs?: number;
}

/** For a whole call, in milliseconds. */
const TIMEOUT_MS = 5000;

/** How long it is tried to find out what became of a move, in milliseconds. */
const SETTLE_MS = 30_000;
const LOOK_PAUSE_MS = 500;

const ATTEMPTS = 5;

const SWEEP_AGE_MS = 3_600_000;

/** Records that are named again before the pointer moves; of those that failed sets left the oldest are forgotten. */
const MOST_RECENT = 20_000;

/**
 * What was put since the pointer was last moved.
 *
 * Garbage collection (sweep.ts) writes the pointer's object before it deletes anything. As long as the object is as it
 * was before the first of these was put, nothing that they found there has been deleted.
 */
interface Recent {
  /** The resourceVersion of the pointer's object, from before the first of them was put. */
  base: string;
  /** The names of all objects that were put. */
  readonly names: Set<string>;
}

/**
 * A store on the API of Kubernetes, for several Coordinators at a time (objects.ts has its form). The API server and its
 * etcd are the host's, and nothing that they say is trusted: contents are checked by their digests here, and the pointer's
 * signature is checked by who reads it.
 *
 * Codes beside those of `Store`: `state_unavailable` where there is no answer, `state_forbidden` where rights are missing.
 */
export class KubernetesStore implements Store {
  readonly shared = true;
  readonly #options: KubernetesStoreOptions;
  readonly #client: ApiClient;
  readonly #objects: Objects;
  readonly #maps: ConfigMaps;
  readonly #sweeper: Sweeper;
  /** The pointer as it was last read or written here. */
  #seen: string | undefined;
  /** As in the file store: a move of our own is not taken for somebody else's. */
  readonly #queue = new SerialQueue();
  #recent: Promise<Recent> | undefined;
  readonly #ended = new AbortController();

  private constructor(options: KubernetesStoreOptions) {
    this.#options = options;
    this.#client = new ApiClient(options.place, { timeoutMs: TIMEOUT_MS, maxBytes: MAX_OBJECT });
    this.#objects = new Objects(options.name);
    this.#maps = new ConfigMaps({ ...options, client: this.#client });
    const { monotonic, sweepAgeMs: leastAgeMs = SWEEP_AGE_MS } = options;
    this.#sweeper = new Sweeper({ maps: this.#maps, objects: this.#objects, monotonic, leastAgeMs });
  }

  /** @throws Refusal `state_unavailable`, `state_forbidden`, `damaged_state`, `state_not_written` */
  static async open(options: KubernetesStoreOptions): Promise<KubernetesStore> {
    const store = new KubernetesStore(options);
    try {
      await store.#prepare();
    } catch (error) {
      store.close();
      throw error;
    }
    return store;
  }

  /** Ends watches and connections. */
  close(): void {
    this.#ended.abort();
    this.#client.close();
  }

  async get(kind: RecordKind, digest: string): Promise<Buffer> {
    const record = `${kind}/${digest}`;
    const first = await this.#get(kind, digest, 0);
    const parts = [this.#objects.bytesOf(first, kind)];
    const count = this.#objects.partsOf(first);
    for (let part = 1; part < count; part++) {
      parts.push(this.#objects.bytesOf(await this.#get(kind, digest, part), kind));
    }
    const payload = decodeRecord(kind, Buffer.concat(parts), record);
    const actual = sha256Hex(payload);
    if (actual === digest) return payload;
    throw damaged("a record of the state is not what its name says", { where: record, got: `SHA-256 ${actual}` });
  }

  async put(kind: RecordKind, bytes: Uint8Array): Promise<string> {
    const digest = sha256Hex(bytes);
    const file = encodeRecord(kind, bytes);
    if (file.length > MOST_PARTS * PART) {
      throw new Refusal("state_not_written", "a record is too large for the state", {
        where: `${kind}/${digest}`,
        got: `${bytes.length} bytes`,
        want: `fewer than ${MOST_PARTS * PART}`,
      });
    }
    // No pointer leads to a consent: another Coordinator may remove it before this one moves the pointer.
    const recent = kind === "consents" ? undefined : await this.#beginRecent();
    for (const object of this.#objects.parts(kind, digest, file)) {
      await this.#ensure(object);
      recent?.names.add(object.metadata.name);
    }
    if (recent === undefined) return digest;
    for (const name of recent.names) {
      if (recent.names.size <= MOST_RECENT) break;
      recent.names.delete(name);
    }
    return digest;
  }

  async list(kind: RecordKind): Promise<string[]> {
    const found = await this.#maps.list(this.#objects.selector(kind));
    return found.flatMap(({ name }) => {
      const record = this.#objects.parseName(name);
      return record?.kind === kind && record.part === 0 ? [record.digest] : [];
    });
  }

  async remove(kind: RecordKind, digest: string): Promise<void> {
    const first = await this.#maps.get(this.#objects.record(kind, digest));
    if (first === undefined) return;
    this.#objects.bytesOf(first, kind);
    const count = this.#objects.partsOf(first);
    for (let part = 0; part < count; part++) {
      const name = this.#objects.record(kind, digest, part);
      const object = part === 0 ? first : await this.#maps.get(name);
      if (object !== undefined) await this.#maps.remove(name, { uid: object.metadata.uid });
    }
  }

  latest(): Promise<Buffer | undefined> {
    return this.#queue.run(async () => {
      const { pointer } = await this.#readLatest();
      this.#seen = textOf(pointer);
      return pointer;
    });
  }

  compareAndSwapLatest(expected: Buffer | undefined, next: Buffer): Promise<void> {
    return this.#queue.run(async () => {
      const recent = await this.#recent?.catch(() => undefined);
      // What is put from here on is for another move.
      this.#recent = undefined;
      await this.#move(expected, next, recent);
      this.#seen = textOf(next);
    });
  }

  async sweep(latest: Buffer, named: Named): Promise<number> {
    const { pointer, resourceVersion } = await this.#readLatest();
    return pointer?.equals(latest) === true ? this.#sweeper.run(resourceVersion, named) : 0;
  }

  watch(onChange: () => void): () => void {
    // What was found instead of what: one change is told once.
    let told = "";
    const look = async (): Promise<void> =>
      this.#queue.run(async () => {
        const found = await this.#readLatest().catch((error: unknown) => {
          // Nobody has said that it is another one.
          if (error instanceof Refusal && error.code !== "damaged_state") throw error;
          return undefined;
        });
        const pointer = found === undefined ? "unreadable" : textOf(found.pointer);
        const difference = `${pointer} instead of ${this.#seen}`;
        if (pointer !== this.#seen && difference !== told) onChange();
        told = difference;
      });
    const { random, sleep } = this.#options;
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.#ended.signal]);
    void watchPointer({ maps: this.#maps, name: this.#objects.latest, look, signal, random, sleep });
    return () => stop.abort();
  }

  /** The pointer's object is there before any record: without it, a state that has records has lost its pointer. */
  async #prepare(): Promise<void> {
    const { latest } = this.#objects;
    if ((await this.#maps.get(latest)) !== undefined) return;
    const records = await this.#maps.list(this.#objects.selector());
    if (records.length === 0) {
      // Where somebody else was quicker, his is as good.
      await this.#maps.create(this.#objects.pointer(encodeRecord("latest", Buffer.alloc(0))));
      return;
    }
    // Somebody else may have made both in between.
    if ((await this.#maps.get(latest)) === undefined) throw lost(latest);
  }

  async #move(expected: Buffer | undefined, next: Buffer, recent: Recent | undefined): Promise<void> {
    const file = encodeRecord("latest", next);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { pointer, resourceVersion } = await this.#readLatest();
      // Something on the way has sent the request twice: what was refused is the second one. Nobody else makes such bytes.
      if (attempt > 0 && textOf(pointer) === textOf(next)) return;
      if (textOf(pointer) !== textOf(expected)) throw conflict();
      if (recent !== undefined && recent.base !== resourceVersion) {
        await this.#touchAll(recent.names);
        recent.base = resourceVersion;
      }
      const outcome = await this.#maps.replace(this.#objects.pointer(file, resourceVersion));
      if (outcome === "replaced") return;
      if (outcome === "missing") throw lost(this.#objects.latest);
      if (outcome !== "conflict") {
        await this.#settle(expected, next, outcome.unknown);
        return;
      }
    }
    throw conflict();
  }

  /**
   * The pointer may have been moved, and the request may still be on its way. So the object is written as it is: then
   * that request comes too late.
   *
   * @param failure what is thrown where the pointer was not moved, or nobody can say
   */
  async #settle(expected: Buffer | undefined, next: Buffer, failure: Refusal): Promise<void> {
    for (const end = AbortSignal.timeout(SETTLE_MS); !end.aborted;) {
      try {
        const { pointer, resourceVersion } = await this.#readLatest();
        if (textOf(pointer) === textOf(next)) return;
        if (textOf(pointer) !== textOf(expected)) throw conflict();
        if (await this.#maps.touchIf(this.#objects.latest, resourceVersion)) throw failure;
      } catch (error) {
        if (error === failure || !(error instanceof Refusal) || error.code !== "state_unavailable") throw error;
      }
      await this.#options.sleep(LOOK_PAUSE_MS);
    }
    throw new Refusal(
      "state_unavailable",
      "the Kubernetes API did not say whether the pointer of the state was moved",
      {
        where: failure.where,
        got: failure.got,
        hint: "look at the history when the API server answers again: the change may be in it",
        cause: failure,
      },
    );
  }

  /** @throws Refusal `state_not_written` where one of them is gone */
  async #touchAll(names: ReadonlySet<string>): Promise<void> {
    for (const name of names) {
      if (await this.#maps.touchUnread(name)) continue;
      throw new Refusal(
        "state_not_written",
        "a record of this change was removed meanwhile, so the state stays as it was",
        { where: `configmaps/${name}`, hint: "try again" },
      );
    }
  }

  /** Makes an object, or the present one as good as new. */
  async #ensure(object: NewObject): Promise<void> {
    const { name } = object.metadata;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await this.#maps.create(object)) return;
      const present = await this.#maps.touch(name);
      if (present === undefined) continue;
      if (holds(present, object)) return;
      // It has the name of this content, and another: damage, which nobody can change in place.
      await this.#maps.remove(name, { uid: present.metadata.uid });
    }
    throw new Refusal(
      "state_not_written",
      "a record can't be written, because somebody else writes it again and again",
      {
        where: `configmaps/${name}`,
        hint: "give the Coordinator a CONTRAST_STATE_NAME that nobody else in the namespace uses",
      },
    );
  }

  #beginRecent(): Promise<Recent> {
    if (this.#recent !== undefined) return this.#recent;
    const recent = this.#maps.get(this.#objects.latest).then((latest) => {
      if (latest === undefined) throw lost(this.#objects.latest);
      return { base: latest.metadata.resourceVersion, names: new Set<string>() };
    });
    this.#recent = recent;
    recent.catch(() => {
      if (this.#recent === recent) this.#recent = undefined;
    });
    return recent;
  }

  async #get(kind: RecordKind, digest: string, part: number): Promise<ConfigMap> {
    const name = this.#objects.record(kind, digest, part);
    const object = await this.#maps.get(name);
    if (object !== undefined) return object;
    const where = `${kind}/${digest}${part === 0 ? "" : `, part ${part}`}`;
    throw damaged("a record of the state is missing", { where, got: "404", want: `configmaps/${name}` });
  }

  async #readLatest(): Promise<{ pointer: Buffer | undefined; resourceVersion: string }> {
    const object = await this.#maps.get(this.#objects.latest);
    if (object === undefined) throw lost(this.#objects.latest);
    const payload = decodeRecord("latest", this.#objects.bytesOf(object), "latest");
    const pointer = payload.length === 0 ? undefined : payload;
    return { pointer, resourceVersion: object.metadata.resourceVersion };
  }
}

function lost(name: string): Refusal {
  const want = `configmaps/${name}`;
  return damaged("the pointer of the state is missing, and its records are there", {
    where: "latest",
    got: "404",
    want,
  });
}

function conflict(): Refusal {
  return new Refusal("conflict", "the latest transition changed in between", {
    where: "latest",
    hint: "run `contrast verify`, look at what changed, then set again",
  });
}

function textOf(latest: Buffer | undefined): string {
  return latest?.toString("hex") ?? "none";
}
