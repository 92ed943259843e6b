import { settle } from "../crypto/node.ts";
import { HistoryCheck, HistoryError, type Step } from "../manifest/history.ts";
import { ManifestError } from "../manifest/error.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { isAmending, type TransitionKind } from "../manifest/transition-kind.ts";
import type { Transition } from "../manifest/transition.ts";
import type { Answer } from "./answer.ts";
import { type CheckedAnswer, checkAnswer, type Expected, readTransition } from "./check-answer.ts";
import { VerifyError } from "./error.ts";
import { readDocument, type ReadDocument, readDocuments } from "./records.ts";

/**
 * Verifies a deployment by an answer of its Coordinator and the documents that the answer names, wherever they come from:
 * the evidence first, then the history, whose every change the owners of the manifest before have to have signed.
 */
export interface Source {
  readonly answer: Answer;
  /** Records of the transitions, oldest first. There may be newer ones than the answer's. */
  readonly transitions: () => Promise<readonly Uint8Array[]>;
  readonly document: ReadDocument;
}

/** What the caller knows, and wants. */
export interface Trusted extends Omit<Expected, "manifest"> {
  /**
   * The manifest that has to be in force; or, where owners may have set another one since, the digest of a transition that was
   * verified before: the history has to contain it.
   */
  readonly known: { readonly manifest: Uint8Array } | { readonly transition: string };
  /** Whether the documents of the policies of all manifests are wanted as well. */
  readonly policies: boolean;
}

/** A step, and what it does. */
export interface VerifiedStep extends Step {
  readonly kind: TransitionKind;
  /** Number of the manifest that is in force from then on, from 1. */
  readonly generation: number;
}

/** A deployment that was verified. */
export interface Verification extends CheckedAnswer {
  readonly answer: Answer;
  readonly at: Date;
  readonly manifestBytes: Uint8Array;
  /** Oldest first. */
  readonly steps: readonly VerifiedStep[];
  /** By hash; empty where they were not asked for. */
  readonly policies: ReadonlyMap<string, Uint8Array>;
}

/** @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal */
export async function verifySource(source: Source, trusted: Trusted): Promise<Verification> {
  const { answer } = source;
  const manifestBytes = await manifestOf(source, trusted);
  const checked = await settle(() => checkAnswer(answer, { ...trusted, manifest: manifestBytes }));
  const transitions = await listedTransitions(answer, checked.transition, await source.transitions());
  if ("transition" in trusted.known) requireContinued(transitions, trusted.known.transition);
  const steps = await verifySteps(transitions, source, { digest: checked.transition.manifest, bytes: manifestBytes });
  requireGeneration(checked, steps);
  const hashes = trusted.policies ? await policiesOf(steps) : [];
  const policies = await readDocuments("policies", hashes, source.document);
  return { ...checked, answer, at: trusted.at, manifestBytes, steps, policies };
}

async function manifestOf({ answer, document }: Source, { known }: Trusted): Promise<Uint8Array> {
  if ("manifest" in known) return known.manifest;
  // By it the evidence is judged, and by the history whether owners want it so. Nothing holds before both are.
  const { manifest } = await settle(() => readTransition(answer.transition, "transition"));
  return readDocument("manifests", manifest, document);
}

/** Those that the answer names: it may have been asked for before the newest ones were made. */
async function listedTransitions(
  { history }: Answer,
  latest: Transition,
  records: readonly Uint8Array[],
): Promise<readonly Transition[]> {
  const transitions: Transition[] = [];
  for (const [index, listed] of history.entries()) {
    const where = `step ${index + 1}`;
    const record = records[index];
    if (record === undefined) throw anotherHistory(where, "nothing", `transition ${listed.transition}`);
    const transition = await settle(() => readTransition(record, where));
    requireEqual(`${where}, transition`, transition.digest, listed.transition);
    requireEqual(`${where}, manifest`, transition.manifest, listed.manifest);
    requireEqual(`${where}, annex`, transition.annex ?? "none", listed.annex ?? "none");
    transitions.push(transition);
  }
  // The evidence is bound to the latest, and each names the one before.
  requireEqual("the last step, transition", transitions.at(-1)?.digest ?? "none", latest.digest);
  return transitions;
}

function requireContinued(transitions: readonly Transition[], known: string): void {
  if (transitions.some(({ digest }) => digest === known)) return;
  throw new VerifyError("not_continued", "the deployment does not continue the one that was verified before", {
    where: "history",
    got: `${transitions.length} transitions, to ${transitions.at(-1)?.digest ?? "none"}`,
    want: `transition ${known} among them`,
    hint: "it was rolled back, or forked, or it is another deployment: ask its workload owner",
  });
}

async function verifySteps(
  transitions: readonly Transition[],
  { document }: Source,
  inForce: { readonly digest: string; readonly bytes: Uint8Array },
): Promise<readonly VerifiedStep[]> {
  const others = transitions.map(({ manifest }) => manifest).filter((digest) => digest !== inForce.digest);
  const manifests = new Map(await readDocuments("manifests", others, document)).set(inForce.digest, inForce.bytes);
  const annexes = await readDocuments(
    "annexes",
    transitions.flatMap(({ annex }) => annex ?? []),
    document,
  );
  const check = new HistoryCheck();
  const steps: VerifiedStep[] = [];
  let generation = 0;
  for (const transition of transitions) {
    const annex = transition.annex === undefined ? undefined : annexes.get(transition.annex);
    const step = { transition, manifest: manifests.get(transition.manifest) ?? new Uint8Array(), annex };
    const { kind } = await settle(() => check.next(step));
    if (!isAmending(kind)) generation++;
    steps.push({ ...step, kind, generation });
  }
  return steps;
}

/** What any manifest of the history lists; one that this version can't read lists nothing that it could show. */
async function policiesOf(steps: readonly VerifiedStep[]): Promise<ReadonlySet<string>> {
  const hashes = new Set<string>();
  for (const [, { manifest }] of new Map(steps.map((step) => [step.transition.manifest, step]))) {
    const listed = await settle(() => listedPolicies(manifest));
    for (const hash of listed) hashes.add(hash);
  }
  return hashes;
}

function listedPolicies(manifest: Uint8Array): readonly string[] {
  try {
    return [...parseManifest(manifest).policies.keys()];
  } catch (error) {
    if (error instanceof ManifestError) return [];
    throw error;
  }
}

/** Recoveries make another mesh CA of the same generation; a set, one of the next. */
function requireGeneration({ meshCa, transition }: CheckedAnswer, steps: readonly VerifiedStep[]): void {
  const { number, manifest } = meshCa.generation ?? {};
  const generation = steps.at(-1)?.generation;
  if (number === generation && manifest === transition.manifest) return;
  throw new VerifyError("ca_mismatch", "the mesh CA is of another generation than the manifest in force", {
    where: "meshCa",
    got: number === undefined ? "no generation" : `generation ${number}, manifest ${manifest}`,
    want: `generation ${generation}, manifest ${transition.manifest}`,
  });
}

function requireEqual(where: string, got: string, want: string): void {
  if (got !== want) throw anotherHistory(where, got, want);
}

function anotherHistory(where: string, got: string, want: string): HistoryError {
  return new HistoryError("broken_history", "the history is not the one that the evidence is bound to", {
    where,
    got,
    want,
    hint: "something between here and the Coordinator changes answers",
  });
}
