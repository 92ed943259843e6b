import type { PendingChange } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type Annex, parseAnnex } from "../../manifest/annex.ts";
import { faultOfChange } from "../../manifest/change-signature.ts";
import { ManifestError } from "../../manifest/error.ts";
import { HistoryError } from "../../manifest/history.ts";
import { parseManifest, workloadOwnersOf } from "../../manifest/manifest.ts";
import type { Fields } from "../../report/print.ts";
import { type ActiveHistory, manifestInForce } from "./active-history.ts";
import { annexOf } from "../../manifest/generations.ts";
import { requireNextAnnex } from "./next-annex.ts";

/** A change that waits for more owners' signatures, whose signatures were checked here. */
export interface ProvenChange {
  /** SHA-256 of its manifest, hex; of an amendment, which keeps it, that of the manifest in force. */
  readonly manifest: string;
  /** Of an amendment: what is to be in force. */
  readonly annex: ProvenAnnex | undefined;
  /** SHA-256 of the keys of the owners who signed, and of those who may still do so, hex. */
  readonly signedBy: readonly string[];
  readonly maySign: readonly string[];
  /** How many more have to. */
  readonly missing: number;
  /** Whether one who signed wants no certificate of before to be trusted any more. The Coordinator says so, nobody signs it. */
  readonly revoke: boolean;
}

/** It may follow what is in force. */
export interface ProvenAnnex {
  readonly bytes: Uint8Array;
  /** SHA-256, hex. */
  readonly digest: string;
  readonly annex: Annex;
}

/**
 * What a Coordinator says of a pending change is as good as the owners' signatures that it shows.
 *
 * @param active undefined: it has no manifest, and then nothing can be pending
 * @throws HistoryError `unauthorized_history`
 */
export function pendingOf(
  { manifestDigest, signatures, revoke, annex: bytes }: PendingChange,
  active: ActiveHistory | undefined,
): ProvenChange {
  const manifest = Buffer.from(manifestDigest).toString("hex");
  const refuse = (got: string): HistoryError =>
    new HistoryError(
      "unauthorized_history",
      "what the Coordinator says of a pending change is not what owners signed",
      {
        where: bytes.length === 0 ? `the pending manifest ${manifest}` : `the pending annex ${sha256Hex(bytes)}`,
        got,
        hint: "do not sign it: use the `contrast` of the Coordinator's version, or find out what runs there",
      },
    );
  if (active === undefined || manifestDigest.length !== 32) throw refuse("no change that follows a manifest");
  const owners = workloadOwnersOf(parseManifest(manifestInForce(active)));
  const annex = bytes.length === 0 ? undefined : readAnnex(bytes, active, refuse);
  if (annex !== undefined && manifest !== sha256Hex(manifestInForce(active))) throw refuse(`the manifest ${manifest}`);
  const place = {
    previous: Buffer.from(active.latest, "hex"),
    meshKey: Buffer.from(active.meshKey, "hex"),
    annex: annex && Buffer.from(annex.digest, "hex"),
  };
  const fault = faultOfChange(owners, { manifestDigest, ...place }, signatures);
  if (fault !== undefined && "key" in fault) throw refuse(`${fault.code}, by the key ${fault.key}`);
  const signedBy = signatures.map(({ publicKey }) => sha256Hex(publicKey));
  const signed = fault === undefined ? owners.threshold : "signed" in fault ? fault.signed : 0;
  const maySign = owners.keys.filter((key) => !signedBy.includes(key));
  return { manifest, annex, signedBy, maySign, missing: owners.threshold - signed, revoke };
}

function readAnnex(bytes: Uint8Array, { steps }: ActiveHistory, refuse: (got: string) => HistoryError): ProvenAnnex {
  try {
    const annex = parseAnnex(bytes);
    requireNextAnnex(annexOf(steps.at(-1)), annex);
    return { bytes, digest: sha256Hex(bytes), annex };
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw refuse(error.describe());
  }
}

/** @param want SHA-256 of the manifest, or of an amendment's annex, hex @throws HistoryError where it is another */
export function requireSameChange({ manifest, annex }: ProvenChange, want: string): void {
  const got = annex?.digest ?? manifest;
  if (got === want) return;
  throw new HistoryError("broken_history", "the Coordinator answered with another change", { got, want });
}

/** For a result. */
export function pendingFacts({ manifest, annex, signedBy, maySign, missing, revoke }: ProvenChange) {
  return {
    ...(annex === undefined ? { "pending manifest": manifest } : { "pending annex": annex.digest }),
    "signed by": signedBy,
    "missing signatures": missing,
    ...(maySign.length === 0 ? {} : { "may still sign": maySign }),
    ...(revoke ? { revokes: "an owner who signed wants no certificate of before to be trusted any more" } : {}),
  } satisfies Fields;
}
