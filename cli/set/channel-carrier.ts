import { createHash } from "node:crypto";
import { encodePermit } from "../../api/permit.ts";
import { UserAPI } from "../../api/userapi_pb.ts";
import type { Context } from "../context.ts";
import { callDeadline, type Coordinator } from "../coordinator.ts";
import { activeHistory } from "../workspace/active-history.ts";
import { writeNewManifest } from "../workspace/new-manifest.ts";
import { overlapOf } from "../workspace/overlap.ts";
import { pendingOf } from "../workspace/pending-change.ts";
import type { Carrier } from "./carrier.ts";

/** Over a connection to a Coordinator that proves itself on it: what it answers is its word. */
export function channelCarrier(context: Context, coordinator: Coordinator): Carrier {
  return {
    active: () => activeHistory(context, coordinator),
    isInsecure: () => coordinator.server?.claims.insecure === true,
    close: () => coordinator.close(),
    set: async ({ manifest, policies, latestTransition, leave, isDetached, revoke, leavePending }, before) => {
      const response = await coordinator.call(
        UserAPI.method.setManifest,
        {
          manifest,
          policies: [...policies],
          ...(latestTransition === undefined ? {} : { latestTransition }),
          ...leave,
          revoke,
          leavePending,
        },
        callDeadline(context),
        // An owner's own connection may send so much anyway.
        isDetached
          ? encodePermit({ manifestDigest: createHash("sha256").update(manifest).digest(), ...leave })
          : undefined,
      );
      if (response.pending !== undefined) return { pending: pendingOf(response.pending, before), notes: {} };
      const written = await writeNewManifest(context, coordinator, response, manifest, before);
      const transition = Buffer.from(response.latestTransition).toString("hex");
      return { transition, written, notes: overlapOf(response) };
    },
  };
}
