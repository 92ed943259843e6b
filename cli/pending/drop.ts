import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { callDeadline } from "../coordinator.ts";
import { type Context, printResult } from "../context.ts";
import { inSession, refuseOptions, requireOwnKey } from "../workspace/owner-session.ts";
import { pendingFacts, pendingOf, requireSameChange } from "../workspace/pending-change.ts";
import { readMeant } from "./meant.ts";
import type { PendingOptions } from "./options.ts";

/** `contrast pending drop`: takes this owner's signature below a pending change back. */
export async function dropPending(context: Context, file: string | undefined, options: PendingOptions): Promise<void> {
  refuseOptions({ "--signature": options.signature }, "pending drop");
  const { atHand, ...meant } = await readMeant(context, file, options.manifest);
  const { keys } = await requireOwnKey(context, options.workloadOwnerKey);
  await inSession(context, options.coordinator, atHand, keys, async ({ coordinator, active, insecure }) => {
    const digest = meant.annex === undefined ? sha256Hex(meant.manifest.bytes) : meant.annex.digest;
    const { pending } = await coordinator.call(
      UserAPI.method.dropPending,
      { manifestDigest: Buffer.from(digest, "hex") },
      callDeadline(context),
    );
    const left = pending && pendingOf(pending, active);
    if (left !== undefined) requireSameChange(left, digest);
    printResult(context, insecure, {
      result: "your signature was taken back",
      coordinator: options.coordinator,
      ...(left === undefined ? {} : pendingFacts(left)),
      "what it means":
        "the host of the Coordinator has seen the signature, and can bring it back until the next set or recovery",
    });
  });
}
