import { type DeploymentOwners, type GetStatusResponse, UserAPI } from "../../api/userapi_pb.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../../pki/keys.ts";
import { EXIT } from "../../runtime/exit.ts";
import { channelRequired, isUrl } from "../address.ts";
import { callDeadline, connect, connectUnproven } from "../coordinator.ts";
import { CliError, type Context } from "../context.ts";
import { INSECURE } from "../../report/insecure.ts";
import { type Fields, render } from "../../report/print.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";
import { FILES, ownerKey } from "../workspace/workspace.ts";

export interface StatusOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  readonly seedshareOwnerKey?: string;
}

/**
 * `contrast status`: how the Coordinator says it is. Without a manifest nothing is proven: whoever answers may be anybody.
 * It writes no file, and nothing that another command relies on comes from it.
 *
 * @returns the exit code: done where it serves, not ready where it does not
 */
export async function status(context: Context, options: StatusOptions): Promise<number> {
  if (isUrl(options.coordinator)) return statusOverHttp(context, options);
  const manifest = options.manifest === undefined ? undefined : await readManifest(context, options.manifest);
  const keys = await ownKey(context, options);
  const coordinator =
    manifest === undefined
      ? connectUnproven(options.coordinator, keys ?? (await generateEcKey("P-256")))
      : await connect(context, options.coordinator, manifest.manifest, keys);
  try {
    const answer = await coordinator.call(UserAPI.method.getStatus, {}, callDeadline(context));
    const fields = {
      coordinator: options.coordinator,
      ...proofOf(coordinator.server, manifest),
      ...fieldsOf(answer, keys, manifest),
    };
    context.out(render(fields, context.format));
    return answer.state === "active" ? EXIT.done : EXIT.notReady;
  } finally {
    coordinator.close();
  }
}

/**
 * What the HTTP API tells everybody. What it tells owners, and proves, is the attested channel's: `verify` proves over HTTP what
 * there is to prove.
 *
 * @throws VerifyError; CliError channel_required
 */
async function statusOverHttp(context: Context, options: StatusOptions): Promise<number> {
  const { coordinator: url } = options;
  const more = ["manifest", "workloadOwnerKey", "seedshareOwnerKey"] as const;
  if (more.some((name) => options[name] !== undefined)) throw channelRequired(url, "`status` with a manifest or a key");
  const { capabilitiesAt } = await import("./capabilities.ts");
  const { state, program: version, insecure } = await capabilitiesAt(context, url);
  const fields = {
    coordinator: url,
    proven: "nothing: anybody could have answered so. `contrast verify` proves what is in force",
    ...(insecure ? { insecure: INSECURE } : {}),
    state,
    version,
  };
  context.out(render(fields, context.format));
  return state === "active" ? EXIT.done : EXIT.notReady;
}

/** @throws CliError usage */
async function ownKey(
  context: Context,
  { workloadOwnerKey, seedshareOwnerKey }: StatusOptions,
): Promise<KeyPair | undefined> {
  if (workloadOwnerKey !== undefined && seedshareOwnerKey !== undefined) {
    throw new CliError("usage", "one key at a time is asked with", {
      where: "--workload-owner-key, --seedshare-owner-key",
      want: "one of them",
    });
  }
  if (seedshareOwnerKey !== undefined) return ownerKey(context, seedshareOwnerKey, FILES.seedshareOwnerKey);
  const key = await ownerKey(context, workloadOwnerKey, FILES.workloadOwnerKey);
  return key ?? ownerKey(context, undefined, FILES.seedshareOwnerKey);
}

function proofOf(server: VerifiedClaimant | undefined, manifest: ManifestAtHand | undefined): Fields {
  if (manifest === undefined || server === undefined) {
    return { proven: "nothing: anybody could have answered so. Name a manifest with -m" };
  }
  return {
    proven: `the Coordinator is one of ${manifest.path}`,
    ...(server.claims.insecure ? { insecure: INSECURE } : {}),
  };
}

function fieldsOf(answer: GetStatusResponse, keys: KeyPair | undefined, manifest: ManifestAtHand | undefined): Fields {
  const { state, inForce, forOwners } = answer;
  const own = keys && toHex(spkiDigest(keys.publicKey));
  const stored = forOwners?.stored;
  const owners = inForce?.owners ?? stored?.owners;
  const digest = inForce && hex(inForce.manifestDigest);
  const missing = missingFrom(answer);
  return {
    state,
    ...(forOwners === undefined ? {} : { version: forOwners.version }),
    ...(inForce === undefined
      ? {}
      : {
          generation: inForce.generation,
          manifest: digest,
          ...(manifest === undefined
            ? {}
            : { "at hand": digest === sha256Hex(manifest.bytes) ? "the same" : "another" }),
          "latest transition": hex(inForce.latestTransition),
        }),
    ...(stored === undefined
      ? {}
      : { unverified: "what follows is of the stored state, which nobody has verified yet" }),
    ...(owners === undefined ? {} : ownersOf(owners)),
    ...(own === undefined ? {} : { "asked as": `${own}${forOwners === undefined ? ", which is no owner's key" : ""}` }),
    ...(stored === undefined ? {} : { "gave their share": stored.gaveShare.map(hex) }),
    ...(forOwners === undefined
      ? {}
      : {
          pending: forOwners.pending.map(({ manifestDigest, annex, signatures, missingSignatures }) => ({
            manifest: hex(manifestDigest),
            ...(annex.length === 0 ? {} : { annex: sha256Hex(annex) }),
            "signed by": signatures.map(({ publicKey }) => sha256Hex(publicKey)),
            "missing signatures": missingSignatures,
          })),
          peers: forOwners.peers.map(({ address, state: seen, sequence }) => ({
            address,
            state: seen,
            sequence: Number(sequence),
          })),
        }),
    ...(missing.length === 0 ? {} : { missing }),
  };
}

function ownersOf(owners: DeploymentOwners): Fields {
  const { workloadOwners, workloadOwnerThreshold, seedshareOwners, seedshareThreshold } = owners;
  return {
    "workload owner threshold": workloadOwnerThreshold,
    "workload owners": workloadOwners.map(hex),
    "seed share threshold": seedshareThreshold,
    "seed share owners": seedshareOwners.map(hex),
  };
}

/** What somebody has to do before it serves, or before a change is in force. */
function missingFrom({ state, inForce, forOwners }: GetStatusResponse): string[] {
  if (state === "empty") return ["a manifest: run `contrast set`"];
  if (state === "recovery") {
    const stored = forOwners?.stored;
    if (stored === undefined) return ["seed shares: their owners run `contrast recover`"];
    if (stored.problem !== "") return [`a state that can be read: ${stored.problem}`];
    const { missingShares: count } = stored;
    return [
      `${count} ${count === 1 ? "seed share" : "seed shares"}: ${count === 1 ? "an owner runs" : "owners run"} \`contrast recover\``,
    ];
  }
  if (inForce?.owners?.workloadOwners.length === 0) return [];
  return (forOwners?.pending ?? []).map(
    ({ manifestDigest, annex, missingSignatures: count }) =>
      `${count} ${count === 1 ? "signature" : "signatures"} below ${
        annex.length === 0 ? `the manifest ${hex(manifestDigest)}` : `an amendment, the annex ${sha256Hex(annex)}`
      }: run \`contrast pending sign\``,
  );
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
