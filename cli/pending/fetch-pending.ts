import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { HistoryError } from "../../manifest/history.ts";
import { policyHash } from "../../manifest/initdata.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { callDeadline } from "../coordinator.ts";
import type { Context } from "../context.ts";
import type { Session } from "../workspace/owner-session.ts";

/**
 * The manifest of a pending change and its policies, each of them what its digest says.
 *
 * @param digest SHA-256 of the manifest, hex
 * @throws HistoryError, ManifestError
 */
export async function fetchPending(
  context: Context,
  { coordinator }: Session,
  digest: string,
): Promise<{ readonly manifest: Uint8Array; readonly policies: ReadonlyMap<string, Uint8Array> }> {
  const ask = (fromPolicy: number) =>
    coordinator.call(
      UserAPI.method.getPending,
      { manifestDigest: Buffer.from(digest, "hex"), fromPolicy },
      callDeadline(context),
    );
  const first = await ask(0);
  requireEqual("the pending manifest", sha256Hex(first.manifest), digest);
  const hashes = [...parseManifest(first.manifest).policies.keys()];
  const policies = new Map<string, Uint8Array>();
  for (let part = first.policies; ; part = (await ask(policies.size)).policies) {
    for (const policy of part) {
      const hash = policyHash(policy);
      requireEqual("a policy of the pending manifest", hash, hashes[policies.size]);
      policies.set(hash, policy);
    }
    if (policies.size === hashes.length) return { manifest: first.manifest, policies };
    if (part.length === 0) requireEqual("the policies of the pending manifest", undefined, hashes[policies.size]);
  }
}

function requireEqual(what: string, got = "none", want = "none"): void {
  if (got === want) return;
  throw new HistoryError("broken_history", `${what} is not what it should be`, { got, want });
}
