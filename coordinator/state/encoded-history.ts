import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Encoded } from "../../api/grpc.ts";
import { Refusal } from "../../api/refusal.ts";
import { GetManifestsResponseSchema, type SeedSharesSchema } from "../../api/userapi_pb.ts";
import { isAmending, kindOf } from "../../manifest/transition-kind.ts";
import type { SeedShares } from "./seed-shares.ts";
import type { StateGuard } from "./state-guard.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * The history as everybody may read it. It is the same for all, so it is read from the disk, checked and encoded once for
 * each state, and kept: who asks again and again, or does not read what he is sent, costs no more of it.
 */
export class EncodedHistory {
  readonly #guard: Pick<StateGuard, "active" | "history">;
  readonly #maxBytes: number;
  #last: { readonly snapshot: Snapshot; readonly encoded: Promise<Encoded> } | undefined;

  constructor(guard: Pick<StateGuard, "active" | "history">, maxBytes: number) {
    this.#guard = guard;
    this.#maxBytes = maxBytes;
  }

  /** @throws Refusal `no_manifest`, `needs_recovery`, `damaged_state` */
  async read(): Promise<Encoded> {
    const snapshot = this.#guard.active();
    if (this.#last?.snapshot !== snapshot) {
      const encoded = this.#encode();
      this.#last = { snapshot, encoded };
      encoded.catch(() => {
        // The disk may be better the next time.
        if (this.#last?.encoded === encoded) this.#last = undefined;
      });
    }
    return this.#last.encoded;
  }

  /**
   * A history that is too long to be read is worth nothing: nobody could verify the deployment any more.
   *
   * @param records what a change would add
   * @throws Refusal `history_too_large`
   */
  async requireRoomFor(records: readonly Uint8Array[]): Promise<void> {
    const before = await this.read().then(
      ({ bytes }) => bytes.length,
      // Before the first manifest there is none. What else is wrong is said by the change itself.
      () => 0,
    );
    const after = records.reduce((sum, { length }) => sum + length, before);
    if (after <= this.#maxBytes) return;
    throw new Refusal("history_too_large", "the history has more bytes than the Coordinator has memory for", {
      got: `${after} bytes`,
      want: `at most ${this.#maxBytes}`,
      hint: "raise the memory limit of the Coordinator",
    });
  }

  async #encode(): Promise<Encoded> {
    const { steps, policies, seedShares, authority } = await this.#guard.history();
    const response = create(GetManifestsResponseSchema, {
      history: steps.map(({ manifest, transition, annex }, index) => ({
        // An amendment keeps the manifest of the step before.
        ...(isAmending(kindOf(steps[index - 1]?.transition, transition)) ? {} : { manifest }),
        transition: Buffer.from(transition.digest, "hex"),
        transitionRecord: transition.record,
        ...(annex === undefined ? {} : { annex }),
      })),
      policies: [...policies],
      rootCaCert: authority.rootCa,
      meshCaCert: authority.meshCa,
      seedShares: toMessage(seedShares),
    });
    return new Encoded(toBinary(GetManifestsResponseSchema, response));
  }
}

export function toMessage({ salt, threshold, shares }: SeedShares): MessageInitShape<typeof SeedSharesSchema> {
  return { salt, threshold, shares: shares.map(({ publicKey, encryptedSeed }) => ({ publicKey, encryptedSeed })) };
}
