import { basename, dirname, join } from "node:path";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { EMPTY_ANNEX } from "../../manifest/annex.ts";
import { type Change, changeToSign } from "../../manifest/change.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { CliError, type Context, printResult, type Result } from "../context.ts";
import { requireInsecureFlag } from "../coordinator.ts";
import { annexSummary } from "../../report/annex-changes.ts";
import { type AnnexFile, readAnnexFile } from "../workspace/annex-file.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { type Pin, requirePin } from "../workspace/pin.ts";
import { readPreparedRekey } from "../workspace/prepared-rekey.ts";
import { signChange } from "../workspace/sign-change.ts";
import { transitionOf } from "../workspace/transition.ts";
import { FILES, ownerKey, readInput, writeOutputs } from "../workspace/workspace.ts";

export interface SignOptions {
  readonly manifest?: string;
  readonly latestTransition?: string;
  readonly workloadOwnerKey?: string;
  readonly outputFile?: string;
  readonly prepare?: boolean;
  readonly rekey?: boolean;
  readonly annex?: string;
}

/**
 * `contrast sign`: a workload owner allows that this manifest follows that transition, on the Coordinator whose mesh CA
 * this workspace saw attested; without a connection. Of an annex: that it takes the place of the one that is in force there,
 * with the manifest at hand. With `--prepare` it writes the bytes to be signed instead, for a key
 * that never leaves its module.
 */
export async function sign(context: Context, options: SignOptions): Promise<void> {
  const { bytes, manifest } = await readManifest(context, options.manifest);
  requireInsecureFlag(context, manifest);
  const { latestTransition: hex } = options;
  const pin = await requirePin(context, "a signature");
  const previous = hex === undefined ? Buffer.from(pin.transition, "hex") : transitionOf(hex);
  const annex = await annexToSign(options);
  const newRootKey = options.rekey === true ? await preparedRootKey(context, previous, pin) : undefined;
  const change = {
    manifest: bytes,
    previous,
    meshKey: Buffer.from(pin.meshKey, "hex"),
    newRootKey,
    annex: annex && Buffer.from(annex.digest, "hex"),
  };

  const prepare = options.prepare === true;
  const output = options.outputFile ?? join(context.workspace, prepare ? FILES.change : FILES.signature);
  const { content, facts } = prepare ? prepared(change, output) : await signed(context, options, change, output);
  await writeOutputs(dirname(output), { [basename(output)]: content });
  printResult(context, manifest.referenceValues.insecure.length > 0, {
    ...facts,
    manifest: sha256Hex(bytes),
    ...(annex === undefined
      ? {}
      : { annex: annex.digest, "secrets and volumes": annexSummary(EMPTY_ANNEX, annex.annex) }),
    "latest transition": toHex(previous),
    "mesh CA key": pin.meshKey,
    ...(newRootKey === undefined ? {} : { "new root CA key": toHex(newRootKey) }),
    written: [output],
  });
}

/** @throws CliError usage, unreadable_file; ManifestError */
async function annexToSign({ annex: path, rekey }: SignOptions): Promise<AnnexFile | undefined> {
  if (path === undefined) return undefined;
  if (rekey === true) throw new CliError("usage", "an amendment makes no new seed", { want: "--annex or --rekey" });
  return readAnnexFile(path, await readInput(path, "the annex"));
}

/** A rekey is for the very generation that this workspace has verified. @throws CliError malformed_file */
async function preparedRootKey(context: Context, previous: Uint8Array, pin: Pin): Promise<Uint8Array> {
  const prepared = await readPreparedRekey(context);
  if (prepared.transition === toHex(previous) && prepared.meshKey === pin.meshKey) {
    return Buffer.from(prepared.newRootKey, "hex");
  }
  throw new CliError("malformed_file", "the prepared rekey follows another generation than the one that is pinned", {
    where: join(context.workspace, FILES.rekey),
    got: `transition ${prepared.transition}, mesh CA key ${prepared.meshKey}`,
    want: `transition ${toHex(previous)}, mesh CA key ${pin.meshKey}`,
    hint: "run `contrast verify`, look at what changed, then `contrast rekey --prepare` again",
  });
}

interface Output {
  readonly content: Uint8Array;
  readonly facts: Result;
}

function prepared(change: Change, output: string): Output {
  const next = `openssl dgst -sha256 -sign KEY -out ${FILES.signature} ${output}`;
  return { content: changeToSign(change), facts: { result: "ready to be signed", next } };
}

async function signed(context: Context, options: SignOptions, change: Change, output: string): Promise<Output> {
  const keys = await ownerKey(context, options.workloadOwnerKey, FILES.workloadOwnerKey);
  const where = options.workloadOwnerKey ?? join(context.workspace, FILES.workloadOwnerKey);
  if (keys === undefined) {
    throw new CliError("malformed_file", "the signature needs a workload owner's private key", {
      where,
      got: "no such file",
      want: "an EC key, PEM",
      hint: "name it with --workload-owner-key; --prepare is for a key that is in no file",
    });
  }
  return {
    content: signChange(keys, where, change),
    facts: {
      result: "signed",
      key: toHex(spkiDigest(keys.publicKey)),
      next: `contrast ${commandOf(change, options)} --signature ${output}`,
    },
  };
}

/** What carries the signature. */
function commandOf({ newRootKey, annex }: Change, options: SignOptions): string {
  if (annex !== undefined) return `pending sign ${options.annex ?? ""}`;
  return newRootKey === undefined ? "set" : "rekey";
}
