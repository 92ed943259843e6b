import { sign as signBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { sha256Hex } from "../bytes/sha256.ts";
import { changeToSign } from "../manifest/change.ts";
import { spkiDigest } from "../pki/keys.ts";
import { CliError, type Context, printResult, type Result } from "./context.ts";
import { requireInsecureFlag } from "./coordinator.ts";
import { readManifest } from "./manifest-at-hand.ts";
import { transitionOf, verifiedTransition } from "./transition.ts";
import { FILES, ownerKey, writeOutputs } from "./workspace.ts";

export interface SignOptions {
  readonly manifest?: string;
  readonly latestTransition?: string;
  readonly workloadOwnerKey?: string;
  readonly outputFile?: string;
  readonly prepare?: boolean;
}

/**
 * `contrast sign`: a workload owner allows that this manifest follows that transition, without a connection. With
 * `--prepare` it writes the bytes to be signed instead, for a key that never leaves its module.
 */
export async function sign(context: Context, options: SignOptions): Promise<void> {
  const { bytes, manifest } = await readManifest(context, options.manifest);
  requireInsecureFlag(context, manifest);
  const { latestTransition: hex } = options;
  const previous = hex === undefined ? await verifiedTransition(context) : transitionOf(hex);
  const change = changeToSign(bytes, previous);

  const prepare = options.prepare === true;
  const output = options.outputFile ?? join(context.workspace, prepare ? FILES.change : FILES.signature);
  const { content, facts } = prepare ? prepared(change, output) : await signed(context, options, change, output);
  await writeOutputs(dirname(output), { [basename(output)]: content });
  printResult(context, manifest.referenceValues.insecure.length > 0, {
    ...facts,
    manifest: sha256Hex(bytes),
    "latest transition": previous.toString("hex"),
    written: [output],
  });
}

interface Output {
  readonly content: Buffer;
  readonly facts: Result;
}

function prepared(change: Buffer, output: string): Output {
  const next = `openssl dgst -sha256 -sign KEY -out ${FILES.signature} ${output}`;
  return { content: change, facts: { result: "ready to be signed", next } };
}

/** ECDSA with SHA-256, DER: what `openssl dgst -sha256 -sign` and most key stores make. */
async function signed(context: Context, options: SignOptions, change: Buffer, output: string): Promise<Output> {
  const keys = await ownerKey(context, options.workloadOwnerKey, FILES.workloadOwnerKey);
  const where = options.workloadOwnerKey ?? join(context.workspace, FILES.workloadOwnerKey);
  if (keys?.privateKey.asymmetricKeyType !== "ec") {
    throw new CliError("malformed_file", "the signature needs a workload owner's private key", {
      where,
      got: keys === undefined ? "no such file" : `a key of type ${keys.privateKey.asymmetricKeyType ?? "?"}`,
      want: "an EC key, PEM",
      hint: "name it with --workload-owner-key; --prepare is for a key that is in no file",
    });
  }
  return {
    content: signBytes("sha256", change, { key: keys.privateKey, dsaEncoding: "der" }),
    facts: {
      result: "signed",
      key: spkiDigest(keys.publicKey).toString("hex"),
      next: `contrast set --signature ${output}`,
    },
  };
}
