import { fromBinary } from "@bufbuild/protobuf";
import { Refusal } from "../../api/refusal.ts";
import { GetManifestsResponseSchema } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { parseTransition, type Transition } from "../../manifest/transition.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { StateGuard } from "../state/state-guard.ts";

/** What is named by its digest. */
export type DocumentKind = "manifests" | "policies" | "annexes";

/** The history of what was in force at one moment, as it is sent. */
export interface Published {
  readonly snapshot: Snapshot;
  /** Members of every answer to `attest`, without the braces. */
  readonly members: Buffer;
  /** The answer to `GET /v1/history`. */
  readonly history: Buffer;
  /** By their SHA-256, hex: exactly the bytes that have this digest. */
  readonly documents: Readonly<Record<DocumentKind, ReadonlyMap<string, Uint8Array>>>;
}

/**
 * The history for the HTTP API. It is made of the very bytes that `GetManifests` answers everybody with, and so tells nothing
 * that those do not; the documents are views of them. It is made once for each state, whoever asks and however often.
 */
export class PublishedHistory {
  readonly #guard: Pick<StateGuard, "active">;
  readonly #history: Pick<EncodedHistory, "read">;
  readonly #maxBytes: number;
  #last: { readonly snapshot: Snapshot; readonly published: Promise<Published> } | undefined;

  /** @param maxBytes of what is kept beside the bytes of `history` */
  constructor(guard: Pick<StateGuard, "active">, history: Pick<EncodedHistory, "read">, maxBytes: number) {
    this.#guard = guard;
    this.#history = history;
    this.#maxBytes = maxBytes;
  }

  /** @throws as `StateGuard.active` and `EncodedHistory.read`, and Refusal `history_too_large` */
  async read(): Promise<Published> {
    const snapshot = this.#guard.active();
    if (this.#last?.snapshot !== snapshot) {
      // Both look at what is in force at this moment, and not after it.
      const published = this.#history.read().then(({ bytes }) => this.#publish(snapshot, bytes));
      this.#last = { snapshot, published };
      published.catch(() => {
        if (this.#last?.published === published) this.#last = undefined;
      });
    }
    return this.#last.published;
  }

  #publish(snapshot: Snapshot, encoded: Uint8Array): Published {
    // Bytes of a decoded message are views of what it was decoded from.
    const { history, policies } = fromBinary(GetManifestsResponseSchema, encoded);
    const transitions = history.map(({ transitionRecord }) => parseTransition(transitionRecord));
    const expected = transitions.length * STEP_BYTES + base64Length(transitions);
    if (expected > this.#maxBytes) {
      throw new Refusal("history_too_large", "the history has more steps than the Coordinator has memory for", {
        got: `${transitions.length} steps, ${expected} bytes`,
        want: `at most ${this.#maxBytes} bytes`,
        hint: "raise the memory limit of the Coordinator",
      });
    }
    const ofSteps = (bytes: (step: (typeof history)[number]) => Uint8Array | undefined, digest: Digest) =>
      new Map(
        history.flatMap((step, index): [string, Uint8Array][] => {
          const found = bytes(step);
          const name = digest(transitions[index]);
          return found === undefined || found.length === 0 || name === undefined ? [] : [[name, found]];
        }),
      );
    return {
      snapshot,
      members: Buffer.from(membersOf(snapshot, transitions)),
      history: Buffer.from(historyAnswer(transitions)),
      documents: {
        manifests: ofSteps(
          ({ manifest }) => manifest,
          (transition) => transition?.manifest,
        ),
        annexes: ofSteps(
          ({ annex }) => annex,
          (transition) => transition?.annex,
        ),
        policies: new Map(policies.map((policy) => [sha256Hex(policy), policy])),
      },
    };
  }
}

type Digest = (transition: Transition | undefined) => string | undefined;

/** Of the member `history`: three digests and their names. */
const STEP_BYTES = 240;

function base64Length(transitions: readonly Transition[]): number {
  return transitions.reduce((sum, { record }) => sum + 4 * Math.ceil(record.length / 3) + 3, 0);
}

function membersOf({ authority, latest }: Snapshot, transitions: readonly Transition[]): string {
  const last = transitions.at(-1);
  if (last?.digest !== latest.transition) throw new Error("the history does not end with what is in force");
  const members = {
    rootCa: authority.rootCa,
    meshCa: authority.meshCa,
    transition: base64(last.record),
    history: transitions.map(({ digest, manifest, annex }) => ({ transition: digest, manifest, annex: annex ?? null })),
  };
  return JSON.stringify(members).slice(1, -1);
}

function historyAnswer(transitions: readonly Transition[]): string {
  return JSON.stringify({ version: 1, transitions: transitions.map(({ record }) => base64(record)) });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
