import { briefClaims } from "../../attestation/claims.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { printableLines } from "../../report/print.ts";
import { deploymentFacts, frozen } from "../../verifier/facts.ts";
import { verifyStatement, type VerifiedSaved } from "../../verifier/statement.ts";
import { type Context, printResult } from "../context.ts";
import { requireInsecureFlag } from "../coordinator.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { type Pin, readPin } from "../workspace/pin.ts";
import { readInput } from "../workspace/workspace.ts";

export interface FromOptions {
  readonly manifest?: string;
  /** SHA-256 of keys, hex. */
  readonly formerSeedshareOwner?: readonly string[];
}

/**
 * `contrast verify --from`: verifies what `--save` kept, by the manifest at hand, without a network. It was true at some time
 * after the newest time that a vendor signed in it. It says nothing about today, so nothing of the workspace changes.
 *
 * @param path of the statement
 * @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal, CliError
 */
export async function verifyFrom(context: Context, path: string, options: FromOptions): Promise<void> {
  const { bytes, manifest } = await readManifest(context, options.manifest);
  requireInsecureFlag(context, manifest);
  const statement = await readInput(path, "the statement", "`contrast verify --save` makes one");
  const now = context.clock.now(manifest);
  const trusted = { policy: undefined, allowInsecure: context.insecure, manifest: bytes, now };
  const saved = await verifyStatement(statement, trusted);
  const { steps } = saved.verification;
  const pin = await readPin(context);
  const isContinued = steps.some(({ transition }) => transition.digest === pin?.transition);
  // As of a deployment: what is pinned was accepted when it was pinned.
  if (!isContinued) requireNoFormerHolders(steps, options.formerSeedshareOwner ?? []);
  const facts = deploymentFacts(saved.verification);
  const { unsigned, after } = saved;
  const known = pin && isContinued ? "its history has the transition that is pinned here" : knownElsewhere(saved, pin);
  if (context.format === "json") {
    const { time, what } = after;
    const document = { result: "verified", ...facts, after: { time: time.toISOString(), what }, unsigned, known };
    context.out(`${printableLines(JSON.stringify(frozen(document), undefined, 2))}\n`);
    return;
  }
  printResult(context, facts.insecure, {
    result: `verified: true at some time after ${after.time.toISOString()}`,
    "signed then": after.what,
    "not signed": `asked at ${unsigned.url}, by the clock of who saved it at ${unsigned.verifiedAt}`,
    statement: `${path}, SHA-256 ${sha256Hex(statement)}`,
    manifest: facts.manifest.sha256,
    generation: facts.manifest.generation,
    transition: facts.transition,
    ...briefClaims(saved.verification.claimant.claims),
    "mesh CA key": facts.meshCa.keySha256,
    "root CA key": facts.rootCa.keySha256,
    ...(known === undefined ? {} : { "known here": known }),
  });
}

/** A statement may be older than the pin, so that it lacks the transition says little. */
function knownElsewhere({ verification: { steps } }: VerifiedSaved, pin: Pin | undefined): string | undefined {
  if (pin === undefined) return undefined;
  return steps.some(({ transition }) => transition.rootKey === pin.rootKey)
    ? "its root CA key is the one that is pinned here, and its history lacks the pinned transition: it is older, or another"
    : "no: it is of another deployment than the one that is pinned here, or from before a rekey";
}
