import { Refusal } from "../../api/refusal.ts";
import { HistoryCheck, HistoryError } from "../../manifest/history.ts";
import { isAmending } from "../../manifest/transition-kind.ts";
import type { Transition } from "../../manifest/transition.ts";
import type { Store } from "../../store/store.ts";
import { annexInForce } from "./annex-in-force.ts";
import type { Snapshot } from "./snapshot.ts";

/** What a history says of its end, beside its last transition. */
export type CheckedHistory = Pick<Snapshot, "annex" | "generation" | "unsigned">;

/**
 * Workload owners signed every change of this history, and every amendment; what nobody signed is the use of a leave that
 * they gave.
 *
 * @param history oldest first
 * @throws Refusal `unauthorized_history`, `damaged_state`
 */
export async function requireAllowed(store: Store, history: readonly Transition[]): Promise<CheckedHistory> {
  const check = new HistoryCheck();
  let end: CheckedHistory = { annex: undefined, generation: 0, unsigned: [] };
  let manifest: { readonly digest: string; readonly bytes: Buffer } | undefined;
  try {
    for (const transition of history) {
      const { manifest: digest, previous = "" } = transition;
      // Those of one manifest may be many.
      if (digest !== manifest?.digest) manifest = { digest, bytes: await store.get("manifests", digest) };
      const bytes = transition.annex === undefined ? undefined : await store.get("annexes", transition.annex);
      const { kind, annex } = check.next({ transition, manifest: manifest.bytes, annex: bytes });
      end = {
        annex: bytes === undefined || annex === undefined ? undefined : annexInForce(bytes, annex),
        generation: end.generation + Number(!isAmending(kind)),
        unsigned: kind === "use" ? [...end.unsigned, previous] : [],
      };
    }
  } catch (error) {
    if (!(error instanceof HistoryError)) throw error;
    const { message, where, got, want, hint } = error;
    const code = error.code === "unauthorized_history" ? error.code : "damaged_state";
    throw new Refusal(code, message, { where, got, want, hint, cause: error });
  }
  return end;
}
