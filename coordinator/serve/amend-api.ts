import type { MessageInitShape } from "@bufbuild/protobuf";
import { Refusal } from "../../api/refusal.ts";
import { type AmendRequest, type SealSecretRequest, type SealSecretResponseSchema } from "../../api/userapi_pb.ts";
import { type Annex, LARGEST_SECRET, MOST_READERS } from "../../manifest/annex.ts";
import { isReader, isSecretName, WANT_READER, WANT_SECRET_NAME } from "../../manifest/annex-names.ts";
import { quote } from "../../runtime/fault.ts";
import type { Logger } from "../../runtime/log.ts";
import { Secret } from "../../runtime/secret.ts";
import { inForce } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import type { AmendResult } from "../state/amend.ts";
import { annexOf } from "../state/annex-in-force.ts";
import { requireOwnerKey } from "../state/authorize.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { PendingChange } from "../state/pending.ts";
import type { SecretLabel } from "../state/sealing.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { signaturesOf } from "./set-permit.ts";
import type { User } from "./user.ts";

/** What workload owners ask beside manifests: secrets by name, and leaves to format volumes. */

interface AmendApiOptions {
  readonly guard: StateGuard;
  readonly history: Pick<EncodedHistory, "requireRoomFor">;
  readonly audit: Audit;
  readonly log: Logger;
}

/** @throws Refusal `not_owner`, `immutable`, `malformed_request`, `too_many_pending` and others */
export async function sealSecret(
  { name, version, readers, value }: SealSecretRequest,
  user: User,
  { guard, audit, log }: AmendApiOptions,
): Promise<MessageInitShape<typeof SealSecretResponseSchema>> {
  const { manifest } = guard.active();
  requireOwnerKey(manifest, user.key, "caller's");
  const label = { name, version, readers };
  requireSealable(label, value.length);
  const sealed = await guard.sealSecret(label, new Secret(value), user.key);
  log.info({ secret: name, version, sealed, by: user.key }, "secret sealed; no annex names it yet");
  audit.record({
    event: "secret_sealed",
    peer: user.address,
    key: user.key,
    ...inForce(guard),
    secret: `${name}@${version}`,
    sealed,
  });
  return { sealedDigest: Buffer.from(sealed, "hex") };
}

/** @param length of the value, in bytes @throws Refusal `malformed_request` */
export function requireSealable({ name, version, readers }: SecretLabel, length: number): void {
  const refuse = (where: string, got: string, want: string): Refusal =>
    new Refusal("malformed_request", "no annex can name such a secret", { where, got, want });
  if (!isSecretName(name)) throw refuse("name", quote(name), WANT_SECRET_NAME);
  if (version < 1) throw refuse("version", String(version), "1 or more");
  if (readers.length < 1 || readers.length > MOST_READERS) {
    throw refuse("readers", `${readers.length} entries`, `1 to ${MOST_READERS}`);
  }
  for (const [index, reader] of readers.entries()) {
    if (!isReader(reader)) throw refuse(`readers[${index}]`, quote(reader), WANT_READER);
    if (index === 0 || (readers[index - 1] ?? "") < reader) continue;
    throw refuse(`readers[${index}]`, quote(reader), "each reader once, sorted");
  }
  if (length < 1 || length > LARGEST_SECRET) throw refuse("value", `${length} bytes`, `1 to ${LARGEST_SECRET} bytes`);
}

/** @throws Refusal of many codes */
export async function amend(
  message: AmendRequest,
  user: User,
  { guard, history, ...told }: AmendApiOptions,
  abandoned: AbortSignal,
): Promise<AmendResult | { readonly pending: PendingChange }> {
  const { annex, latestTransition, signedMeshKey, leavePending } = message;
  await history.requireRoomFor([annex]);
  const request = {
    annex,
    latestTransition,
    callerKey: user.key,
    signatures: signaturesOf(message),
    signedMeshKey: signedMeshKey.length === 0 ? undefined : signedMeshKey,
  };
  const result = await guard.amend(request, leavePending, abandoned);
  if (!("pending" in result)) tellOfAmendment(result, user, told);
  return result;
}

export function amendedMessage({ snapshot, record }: AmendResult) {
  return { latestTransition: Buffer.from(snapshot.latest.transition, "hex"), transitionRecord: record };
}

/** Names and numbers, never values. */
export function tellOfAmendment(
  { before, snapshot, owners }: AmendResult,
  user: User,
  { audit, log }: Pick<AmendApiOptions, "audit" | "log">,
): void {
  const { manifestDigest: manifest, generation, latest, annex } = snapshot;
  const amended = { manifest, generation, transition: latest.transition, annex: annex?.digest ?? "" };
  const changed = changesBetween(annexOf(before), annexOf(snapshot));
  log.info({ ...amended, by: owners, changed }, "annex amended");
  audit.record({ event: "amended", peer: user.address, key: user.key, ...amended, owners, changed });
}

/** What is not as it was, by name. */
function changesBetween(from: Annex, to: Annex): string[] {
  const secrets = [...to.secrets].filter(([name, secret]) => !isSame(from.secrets.get(name), secret));
  const volumes = [...to.volumes].flatMap(([workload, ofWorkload]) =>
    [...ofWorkload]
      .filter(([volume, grants]) => !isSame(from.volumes.get(workload)?.get(volume), grants))
      .map(([volume]) => `volume ${workload}/${volume}`),
  );
  return [...secrets.map(([name]) => `secret ${name}`), ...volumes];
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
