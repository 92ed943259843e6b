import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type Annex, encodeAnnex, type FormatGrants, type SecretVersion } from "../../manifest/annex.ts";
import { workloadReader } from "../../manifest/annex-names.ts";
import type { ChangeAhead } from "../../manifest/change.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import { changeAfter, signedBy } from "../test-deployment.ts";
import type { AmendRequest, AmendResult } from "./amend.ts";
import { annexOf } from "./annex-in-force.ts";
import type { StateGuard } from "./state-guard.ts";

/** For tests: what owners do with an annex, by the commands' own steps: seal, compose, sign, amend. */

export const READERS = [workloadReader("web")];

/** An amendment by these owners of what is in force. */
export function amendRequest(guard: StateGuard, annex: Annex | Uint8Array, signers: readonly KeyPair[]): AmendRequest {
  const bytes = annex instanceof Uint8Array ? annex : encodeAnnex(annex);
  const change = amendmentAfter(guard, bytes);
  return {
    annex: bytes,
    latestTransition: change.previous,
    callerKey: signers[0] === undefined ? "" : toHex(spkiDigest(signers[0].publicKey)),
    signatures: signers.map((signer) => signedBy(signer, change)),
    signedMeshKey: change.meshKey,
  };
}

/** What owners sign. */
export function amendmentAfter(guard: StateGuard, annex: Uint8Array): ChangeAhead & { readonly meshKey: Uint8Array } {
  const active = guard.active();
  const { previous, meshKey } = changeAfter(active, Buffer.alloc(0));
  const [manifestDigest, digest] = [active.manifestDigest, sha256Hex(annex)].map((hex) => Buffer.from(hex, "hex"));
  return { manifestDigest: manifestDigest ?? Buffer.alloc(0), previous, meshKey, annex: digest };
}

export async function sealed(
  guard: StateGuard,
  name: string,
  version: number,
  value = `${name}, version ${version}`,
  readers: readonly string[] = READERS,
  owner = "the owner",
): Promise<SecretVersion> {
  const label = { name, version, readers };
  return { version, readers, sealed: await guard.sealSecret(label, new Secret(Buffer.from(value)), owner) };
}

/** The annex in force with another version of a secret, beside the latest of before. */
export async function withSecret(guard: StateGuard, name: string, value?: string): Promise<Annex> {
  const before = annexOf(guard.active());
  const { latestVersion, versions } = before.secrets.get(name) ?? { latestVersion: 0, versions: [] };
  const next = await sealed(guard, name, latestVersion + 1, value);
  const secret = { latestVersion: latestVersion + 1, versions: [next, ...versions.slice(0, 1)] };
  return { ...before, secrets: new Map([...before.secrets, [name, secret]]) };
}

export function withGrant(guard: StateGuard, workload: string, volume: string, more = 1): Annex {
  const before = annexOf(guard.active());
  const volumes: ReadonlyMap<string, FormatGrants> = before.volumes.get(workload) ?? new Map<string, FormatGrants>();
  const { allowed, used } = volumes.get(volume) ?? { allowed: 0, used: 0 };
  const grants = new Map([...volumes, [volume, { allowed: allowed + more, used }]]);
  return { ...before, volumes: new Map([...before.volumes, [workload, grants]]) };
}

/** @returns what is in force then @throws where it waits for more owners */
export async function amend(guard: StateGuard, annex: Annex, signers: readonly KeyPair[]): Promise<AmendResult> {
  const result = await guard.amend(amendRequest(guard, annex, signers), false);
  if ("pending" in result) throw new Error("it waits for more owners");
  return result;
}

/** The values that a workload of this id is served, by name and version. */
export async function served(guard: StateGuard, readers: readonly string[] = READERS): Promise<Record<string, string>> {
  const secrets = await guard.secretsFor(guard.active(), new Set(readers));
  return Object.fromEntries(
    secrets.map(({ name, version, value }) => [`${name}@${version}`, value.reveal().toString()]),
  );
}
