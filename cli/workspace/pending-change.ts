import type { PendingChange } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { faultOfChange } from "../../manifest/change-signature.ts";
import { HistoryError } from "../../manifest/history.ts";
import { parseManifest, workloadOwnersOf } from "../../manifest/manifest.ts";
import type { Fields } from "../print.ts";
import { type ActiveHistory, manifestInForce } from "./active-history.ts";

/** A change that waits for more owners' signatures, whose signatures were checked here. */
export interface ProvenChange {
  /** SHA-256 of its manifest, hex. */
  readonly manifest: string;
  /** SHA-256 of the keys of the owners who signed, and of those who may still do so, hex. */
  readonly signedBy: readonly string[];
  readonly maySign: readonly string[];
  /** How many more have to. */
  readonly missing: number;
  /** Whether one who signed wants no certificate of before to be trusted any more. The Coordinator says so, nobody signs it. */
  readonly revoke: boolean;
}

/**
 * What a Coordinator says of a pending change is as good as the owners' signatures that it shows.
 *
 * @param active undefined: it has no manifest, and then nothing can be pending
 * @throws HistoryError `unauthorized_history`
 */
export function pendingOf(
  { manifestDigest, signatures, revoke }: PendingChange,
  active: ActiveHistory | undefined,
): ProvenChange {
  const manifest = Buffer.from(manifestDigest).toString("hex");
  const refuse = (got: string): HistoryError =>
    new HistoryError(
      "unauthorized_history",
      "what the Coordinator says of a pending change is not what owners signed",
      {
        where: `the pending manifest ${manifest}`,
        got,
        hint: "do not sign it: use the `contrast` of the Coordinator's version, or find out what runs there",
      },
    );
  if (active === undefined || manifestDigest.length !== 32) throw refuse("no change that follows a manifest");
  const owners = workloadOwnersOf(parseManifest(manifestInForce(active)));
  const place = { previous: Buffer.from(active.latest, "hex"), meshKey: Buffer.from(active.meshKey, "hex") };
  const fault = faultOfChange(owners, { manifestDigest, ...place }, signatures);
  if (fault !== undefined && "key" in fault) throw refuse(`${fault.code}, by the key ${fault.key}`);
  const signedBy = signatures.map(({ publicKey }) => sha256Hex(publicKey));
  const signed = fault === undefined ? owners.threshold : "signed" in fault ? fault.signed : 0;
  const maySign = owners.keys.filter((key) => !signedBy.includes(key));
  return { manifest, signedBy, maySign, missing: owners.threshold - signed, revoke };
}

/** @throws HistoryError where it is another than was asked for */
export function requireSameManifest({ manifest }: ProvenChange, want: string): void {
  if (manifest === want) return;
  throw new HistoryError("broken_history", "the Coordinator answered with another change", { got: manifest, want });
}

/** For a result. */
export function pendingFacts({ manifest, signedBy, maySign, missing, revoke }: ProvenChange) {
  return {
    "pending manifest": manifest,
    "signed by": signedBy,
    "missing signatures": missing,
    ...(maySign.length === 0 ? {} : { "may still sign": maySign }),
    ...(revoke ? { revokes: "an owner who signed wants no certificate of before to be trusted any more" } : {}),
  } satisfies Fields;
}
