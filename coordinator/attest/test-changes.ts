import { createHash } from "node:crypto";
import { encodePermit, PERMIT_HEADER } from "../../api/http/permit.ts";
import { type KeyPair } from "../../pki/keys.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { changeAfter, signedBy } from "../test-deployment.ts";
import type { AskOptions } from "./test-attest.ts";

/** For tests: what owners' tools send to `POST /v1/set`, and what others make of it. */

export interface ChangeParts {
  readonly manifest: Buffer;
  readonly policies: readonly Buffer[];
  /** Whose signatures come along; the first one is in the permit. */
  readonly owners: readonly KeyPair[];
}

/** After what is in force. @param swap what is in between makes of the body */
export function changeOf(
  guard: StateGuard,
  { manifest, policies, owners }: ChangeParts,
  swap: (body: Record<string, unknown>) => unknown = (body) => body,
): AskOptions & { readonly headers: Record<string, string>; readonly body: string } {
  const snapshot = guard.active();
  const change = changeAfter(snapshot, manifest);
  const signatures = owners.map((keys) => signedBy(keys, change));
  const [first] = signatures;
  if (first === undefined) throw new Error("nobody signs");
  const permit = encodePermit({ manifestDigest: createHash("sha256").update(manifest).digest(), ...first });
  const body = {
    manifest: manifest.toString("base64"),
    policies: policies.map((policy) => policy.toString("base64")),
    latestTransition: snapshot.latest.transition,
    signedMeshKey: Buffer.from(change.meshKey).toString("hex"),
    signatures: signatures.map(({ publicKey, signature }) => ({
      publicKey: Buffer.from(publicKey).toString("base64"),
      signature: Buffer.from(signature).toString("base64"),
    })),
  };
  return {
    method: "POST",
    headers: { "content-type": "application/json", [PERMIT_HEADER]: permit },
    body: JSON.stringify(swap(body)),
  };
}
