import { Refusal } from "../../api/refusal.ts";
import type { Annex } from "../../manifest/annex.ts";
import { HistoryCheck } from "../../manifest/history.ts";
import { parseJson } from "../../manifest/json.ts";
import { generationOf } from "../../manifest/transition-kind.ts";
import { parseTransition, type Transition } from "../../manifest/transition.ts";
import { parseRecord } from "../../store/parse-record.ts";
import { type LatestInsecure, parseLatestInsecure } from "../../store/pointer.ts";
import type { RecordKind, Store } from "../../store/store.ts";

/** A history as it lies in a store, from its pointer down, checked as far as anybody can who has no seed. */
export interface StoredHistory {
  readonly pointer: LatestInsecure;
  /** Digests of all pointers, the latest first. */
  readonly pointers: readonly string[];
  /** Digests of all transitions, the latest first. */
  readonly transitions: readonly string[];
  /** How many manifests the history has. */
  readonly generation: number;
  /** All that the pointer leads to, each once. */
  readonly records: readonly StoredRecord[];
}

export interface StoredRecord {
  readonly kind: RecordKind;
  readonly digest: string;
  readonly bytes: Buffer;
}

type Source = Pick<Store, "get" | "latest">;

/**
 * Reads a whole history. Each record is what its digest says; the transitions are one chain, each with the leave of the
 * owners of the manifest before. The pointer's signature is by the seed, and who recovers checks it.
 *
 * @returns undefined: no manifest was ever set
 * @throws Refusal `damaged_state`, `unknown_state_version` and others; HistoryError
 */
export async function readStoredHistory(source: Source): Promise<StoredHistory | undefined> {
  const raw = await source.latest();
  if (raw === undefined) return undefined;
  const pointer = parseLatestInsecure(raw, "latest");
  const records = new Records(source);
  const transitions: Transition[] = [];
  for (let next: string | undefined = pointer.transition; next !== undefined; next = transitions.at(-1)?.previous) {
    const digest = next;
    const record = await records.read("transitions", digest);
    transitions.push(parseRecord(`transitions/${digest}`, () => parseTransition(record)));
  }
  const check = new HistoryCheck();
  const history = transitions.toReversed();
  let inForce: Annex | undefined;
  for (const transition of history) {
    const manifest = await records.read("manifests", transition.manifest);
    const annex = transition.annex === undefined ? undefined : await records.read("annexes", transition.annex);
    ({ annex: inForce } = check.next({ transition, manifest, annex }));
    for (const policy of policiesOf(manifest, transition.manifest)) await records.read("policies", policy);
    await records.read("seedshares", transition.seedShares);
  }
  // Those of earlier annexes are gone, or will be.
  for (const { versions } of inForce?.secrets.values() ?? []) {
    for (const { sealed } of versions) await records.read("secrets", sealed);
  }
  return {
    pointer,
    pointers: await readPointers(records, pointer),
    transitions: transitions.map(({ digest }) => digest),
    generation: generationOf(history),
    records: records.all,
  };
}

/** Those of version 1 were not kept as records when they were made. */
async function readPointers(records: Records, latest: LatestInsecure): Promise<string[]> {
  const digests = [latest.digest];
  if (latest.sequence > 0) await records.read("pointers", latest.digest);
  for (let { previous } = latest; previous !== undefined;) {
    const before = parseLatestInsecure(await records.read("pointers", previous), `pointers/${previous}`);
    digests.push(previous);
    previous = before.previous;
  }
  return digests;
}

class Records {
  readonly #source: Source;
  readonly #records = new Map<string, StoredRecord>();

  constructor(source: Source) {
    this.#source = source;
  }

  get all(): StoredRecord[] {
    return [...this.#records.values()];
  }

  async read(kind: RecordKind, digest: string): Promise<Buffer> {
    const known = this.#records.get(`${kind}/${digest}`);
    if (known !== undefined) return known.bytes;
    const bytes = await this.#source.get(kind, digest);
    this.#records.set(`${kind}/${digest}`, { kind, digest, bytes });
    return bytes;
  }
}

/** A later version may know more of a manifest, and an earlier one less: this much is the same. */
function policiesOf(manifest: Buffer, digest: string): string[] {
  const { Policies } = parseJson(manifest) as { Policies?: unknown };
  const names = typeof Policies === "object" && Policies !== null ? Object.keys(Policies) : [];
  const wrong = names.find((name) => !/^[0-9a-f]{64}$/i.test(name));
  if (wrong === undefined) return names.map((name) => name.toLowerCase());
  throw new Refusal("damaged_state", "a manifest of the history names a policy that can't be", {
    where: `manifests/${digest}, $.Policies`,
    got: JSON.stringify(wrong),
  });
}
