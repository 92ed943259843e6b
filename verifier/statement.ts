import { settle } from "../crypto/node.ts";
import type { SignedTime } from "../attestation/signed-time.ts";
import { toBase64, toHex } from "../bytes/encode.ts";
import { isEqual } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { type Answer, encodeAnswer, readAnswer } from "./answer.ts";
import { checkAnswer } from "./check-answer.ts";
import { type Source, type Trusted, type Verification, verifySource } from "./deployment.ts";
import { VerifyError } from "./error.ts";
import { attest, clientOf, type LiveOptions } from "./live.ts";
import type { DocumentKind } from "./records.ts";
import { newestClaimed, newestSigned } from "./signed-times.ts";
import {
  bytesOf,
  encodeStatement,
  malformed,
  MOST_BOUND,
  parseStatement,
  PREDICATE_TYPE,
  type Statement,
  STATEMENT_TYPE,
} from "./statement-format.ts";
import { endorsementsOf, statementNonce } from "./statement-nonce.ts";

/** Keeps what was verified, and verifies what was kept. */

/** Behind one address may be several Coordinators, each on a chip with certificates of its own. */
const TRIES = 8;

/**
 * Has a deployment attest itself once more, with a nonce that is made of what the vendor signed before (statement-nonce.ts).
 *
 * @param before of this deployment, just now
 * @returns the statement, which `verifyStatement` accepts
 * @throws VerifyError; `changed_meanwhile`: verify again
 */
export async function makeStatement(options: LiveOptions, before: Verification): Promise<Uint8Array> {
  const client = clientOf(options);
  const trusted = { ...options, manifest: before.manifestBytes, saved: false };
  const known = new Set(await settle(() => endorsementsOf(before.answer.evidence)));
  for (let tries = 0; tries < TRIES && known.size <= MOST_BOUND; tries++) {
    const random = options.random(32);
    const bound = [...known].toSorted();
    const nonce = await settle(() => statementNonce(random, bound));
    const answer = await attest(client, nonce);
    const at = options.now();
    const { transition } = await settle(() => checkAnswer(answer, { ...trusted, nonce, at }));
    if (transition.digest !== before.transition.digest) throw changedMeanwhile(transition.digest, before);
    const endorsements = await settle(() => endorsementsOf(answer.evidence));
    if (endorsements.every((each) => known.has(each))) {
      const statement = encodeStatement(statementOf(options.url, at, { random, bound, answer, before }));
      await verifyStatement(statement, { ...options, manifest: before.manifestBytes, now: at });
      return statement;
    }
    for (const each of endorsements) known.add(each);
  }
  throw new VerifyError("changed_meanwhile", "each answer brings other certificates, so none can be kept", {
    where: "evidence",
    got: `${known.size} certificates and lists`,
    want: "the same as before, at one of the tries",
    hint: "try again, or ask one Coordinator by its own address",
  });
}

function changedMeanwhile(got: string, { transition }: Verification): VerifyError {
  return new VerifyError("changed_meanwhile", "the deployment has changed since it was verified", {
    where: "transition",
    got,
    want: transition.digest,
    hint: "verify it again, and keep that",
  });
}

interface Parts {
  readonly random: Uint8Array;
  readonly bound: readonly string[];
  readonly answer: Answer;
  readonly before: Verification;
}

function statementOf(url: string, at: Date, { random, bound, answer, before }: Parts): Statement {
  const { steps, transition } = before;
  const encoded = (documents: Iterable<readonly [string, Uint8Array]>): Record<string, string> =>
    Object.fromEntries(Array.from(documents, ([digest, bytes]) => [digest, toBase64(bytes)]));
  return {
    _type: STATEMENT_TYPE,
    subject: [{ name: "manifest.json", digest: { sha256: transition.manifest } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      version: 1,
      random: toHex(random),
      bound: [...bound],
      answer: encodeAnswer(answer),
      transitions: steps.map((step) => toBase64(step.transition.record)),
      manifests: encoded(steps.map((step) => [step.transition.manifest, step.manifest])),
      annexes: encoded(
        steps.flatMap(({ transition: { annex: name }, annex }) => (name && annex ? [[name, annex]] : [])),
      ),
      policies: encoded(before.policies),
      url,
      verifiedAt: at.toISOString(),
    },
  };
}

export interface StatementOptions extends Pick<Trusted, "policy" | "allowInsecure"> {
  /** The one at hand; undefined: the statement is about the one that is in it. */
  readonly manifest: Uint8Array | undefined;
  readonly now: Date;
}

export interface VerifiedSaved {
  readonly verification: Verification;
  /** When all of it was true at the earliest. */
  readonly after: SignedTime;
  readonly unsigned: { readonly url: string; readonly verifiedAt: string };
}

/**
 * Verifies what was kept. Certificates, lists and collateral are judged by the newest time that is signed in them: nothing
 * says when it was after that, and each of them can be looked up anew by who wants to know about today.
 *
 * @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal
 */
export async function verifyStatement(bytes: Uint8Array, options: StatementOptions): Promise<VerifiedSaved> {
  const { subject, predicate } = parseStatement(bytes);
  const answer = readAnswer(predicate.answer);
  const nonce = await boundNonce(predicate, answer);
  const at = await settle(() => newestClaimed(answer.evidence));
  if (at === undefined) throw notBound("evidence", "nothing that a vendor signed", "certificates, lists or collateral");
  const saved = savedSource(predicate, answer);
  const { manifest = await saved.document("manifests", subject[0].digest.sha256) } = options;
  const policies = Object.keys(predicate.policies).length > 0;
  const trusted = { ...options, nonce, at, known: { manifest }, policies, saved: true };
  const verification = await verifySource(saved, trusted);
  if (subject[0].digest.sha256 !== verification.transition.manifest) {
    throw malformed("$.subject", subject[0].digest.sha256, verification.transition.manifest);
  }
  saved.requireNothingElse(verification);
  const after = newestSigned(verification.claimant.evidence);
  // What nobody vouches for may say any time.
  if (after.time.getTime() !== at.getTime()) {
    throw notBound("evidence", `${at.toISOString()} in what the evidence does not need`, after.time.toISOString());
  }
  requirePast(after, options.now);
  const { url, verifiedAt } = predicate;
  return { verification, after, unsigned: { url, verifiedAt } };
}

/** @returns the nonce that the answer has to be for @throws VerifyError nonce_not_bound */
async function boundNonce({ random, bound }: Statement["predicate"], answer: Answer): Promise<Uint8Array> {
  const isSorted = bound.every((each, index) => index === 0 || (bound[index - 1] ?? "") < each);
  if (!isSorted) throw malformed("$.predicate.bound", "another order", "each digest once, sorted");
  const nonce = await settle(() => statementNonce(fromHex(random, 32) ?? new Uint8Array(), bound));
  if (!isEqual(nonce, answer.nonce)) throw notBound("nonce", toHex(answer.nonce), toHex(nonce));
  const endorsements = await settle(() => endorsementsOf(answer.evidence));
  const stranger = endorsements.find((each) => !bound.includes(each));
  if (stranger !== undefined) throw notBound("evidence", stranger, "only documents that the nonce was made of");
  return nonce;
}

function notBound(where: string, got: string, want: string): VerifyError {
  return new VerifyError("nonce_not_bound", "nothing says when the evidence was made", {
    where,
    got,
    want,
    hint: "evidence of before could stand beside what was signed later: verify the deployment itself",
  });
}

/** The clock of another machine is another one. Milliseconds. */
const TOLERANCE = 5 * 60 * 1000;

function requirePast({ what, time }: SignedTime, now: Date): void {
  // Written so that what is no time is refused.
  if (time.getTime() <= now.getTime() + TOLERANCE) return;
  throw new VerifyError("statement_from_future", "the statement has what was signed only later than now", {
    where: what,
    got: Number.isNaN(now.getTime()) ? "no time" : now.toISOString(),
    want: `at least ${time.toISOString()}`,
    hint: "correct the clock",
  });
}

interface SavedSource extends Source {
  /** A statement has what was verified, and nothing beside it. @throws VerifyError malformed_statement */
  readonly requireNothingElse: (verification: Verification) => void;
}

function savedSource({ transitions, ...predicate }: Statement["predicate"], answer: Answer): SavedSource {
  const where = (kind: DocumentKind, digest: string): string => `$.predicate.${kind}["${digest}"]`;
  return {
    answer,
    transitions: async () => transitions.map((record, index) => bytesOf(record, `$.predicate.transitions[${index}]`)),
    document: async (kind, digest) => {
      const text = predicate[kind][digest];
      if (text === undefined) throw malformed(where(kind, digest), "nothing", "the document");
      return bytesOf(text, where(kind, digest));
    },
    requireNothingElse: ({ steps, policies }) => {
      if (transitions.length !== steps.length) {
        throw malformed("$.predicate.transitions", String(transitions.length), String(steps.length));
      }
      const needed: Readonly<Record<DocumentKind, ReadonlySet<string>>> = {
        manifests: new Set(steps.map(({ transition }) => transition.manifest)),
        annexes: new Set(steps.flatMap(({ transition }) => transition.annex ?? [])),
        policies: new Set(policies.keys()),
      };
      for (const kind of ["manifests", "annexes", "policies"] as const) {
        const stranger = Object.keys(predicate[kind]).find((digest) => !needed[kind].has(digest));
        if (stranger !== undefined) throw malformed(where(kind, stranger), "a document", "none that nothing names");
        const missing = [...needed[kind]].find((digest) => predicate[kind][digest] === undefined);
        if (missing !== undefined) throw malformed(where(kind, missing), "nothing", "the document");
      }
    },
  };
}
