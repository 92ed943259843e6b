import type { MessageInitShape } from "@bufbuild/protobuf";
import { Refusal } from "../../api/refusal.ts";
import type { PendingChangeSchema } from "../../api/userapi_pb.ts";
import type { PendingChange } from "../state/pending.ts";

/** Pending changes as the user API says them. */
export function pendingMessage({
  manifest,
  annex,
  signatures,
  missing,
  revoke,
}: PendingChange): MessageInitShape<typeof PendingChangeSchema> {
  return {
    manifestDigest: Buffer.from(manifest, "hex"),
    signatures: [...signatures],
    missingSignatures: missing,
    revoke,
    ...(annex !== undefined && { annex }),
  };
}

/** @returns hex @throws Refusal `malformed_request` */
export function digestOf(bytes: Uint8Array, where: string): string {
  if (bytes.length === 32) return Buffer.from(bytes).toString("hex");
  throw new Refusal("malformed_request", "a digest has another length", {
    where,
    got: `${bytes.length} bytes`,
    want: "32 bytes",
  });
}
