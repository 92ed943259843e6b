import { fromUtf8 } from "../bytes/encode.ts";
import { settle } from "../crypto/node.ts";
import { type AuditFacts, auditFacts, type AuditInput } from "../report/facts.ts";
import { historyInput } from "../report/history-input.ts";
import { html } from "../report/html.ts";
import { reportBody, reportPage } from "../report/page.ts";
import { type WorkloadFacts, workloadSection } from "../report/workload-section.ts";
import { VERSION } from "../runtime/version.ts";
import type { Verification } from "../verifier/deployment.ts";
import { requireNoFormerHolders } from "../verifier/former-holders.ts";
import { type LiveOptions, requirePolicy, verifyLive } from "../verifier/live.ts";
import { makeStatement, verifyStatement } from "../verifier/statement.ts";
import { checkWorkloadCertificate } from "../verifier/workload-certificate.ts";
import type { Finding, KeptFile } from "./page.ts";
import type { Question } from "./question.ts";

/** What the browser has, and this question alone. */
export interface VerifyParts extends Pick<LiveOptions, "fetch" | "now" | "random"> {
  readonly signal: AbortSignal;
  /** Is told how far it is. */
  readonly say: (progress: string) => void;
}

/** For all requests together: a network is slow, and a report takes its time. Milliseconds. */
const TIMEOUT_MS = 60_000;

/**
 * Answers a question of a person: verifies as `contrast verify` does, and makes the same report of it.
 *
 * @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal
 */
export async function verifyQuestion(question: Question, parts: VerifyParts): Promise<Finding> {
  requirePolicy(question.policy);
  return question.source.kind === "coordinator"
    ? askCoordinator(question.source.url, question, parts)
    : readStatement(question.source.statement, question, parts);
}

async function askCoordinator(url: string, question: Question, parts: VerifyParts): Promise<Finding> {
  const { manifest, policy, allowInsecure, formerSeedshareOwners: accepted } = question;
  const { now, random, signal, say } = parts;
  const options: LiveOptions = {
    url,
    policy,
    allowInsecure,
    now,
    random,
    signal,
    known: { manifest },
    policies: true,
    timeoutMs: TIMEOUT_MS,
    fetch: telling(parts),
  };
  say("Asking the Coordinator for evidence …");
  const verification = await verifyLive(options);
  await settle(() => requireNoFormerHolders(verification.steps, accepted));
  const facts = await factsOf(verification, { address: url, at: verification.at });
  const workload = await workloadOf(question, verification, verification.at);
  const statement = async (): Promise<Uint8Array> => makeStatement(options, verification);
  return findingOf(facts, { "evidence.json": statement }, workload);
}

async function readStatement(statement: Uint8Array, question: Question, { now, say }: VerifyParts): Promise<Finding> {
  say("Reading the evidence …");
  const { manifest, policy, allowInsecure, formerSeedshareOwners: accepted } = question;
  const trusted = { manifest, policy, allowInsecure, now: now() };
  const { verification, after, unsigned } = await verifyStatement(statement, trusted);
  await settle(() => requireNoFormerHolders(verification.steps, accepted));
  const facts = await factsOf(verification, { address: unsigned.url, at: after.time, after: after.what });
  return findingOf(facts, {}, await workloadOf(question, verification, now()));
}

async function factsOf(
  { claimant, steps, policies, rootCa, meshCa }: Verification,
  about: Pick<AuditInput, "address" | "at" | "after">,
): Promise<AuditFacts> {
  return settle(() =>
    auditFacts({
      ...about,
      version: VERSION,
      coordinator: claimant,
      binding: "nonce",
      ...historyInput(steps),
      policies: [...policies.values()],
      rootCa: rootCa.pem,
      meshCa: meshCa.pem,
    }),
  );
}

/** By the clock of today, also of what was saved before: a certificate says itself how long it is valid. */
async function workloadOf(
  { certificate }: Question,
  verification: Verification,
  at: Date,
): Promise<WorkloadFacts | undefined> {
  return certificate && settle(() => checkWorkloadCertificate(certificate, verification, at));
}

function titleOf({ insecure, after, time }: AuditFacts): string {
  const verdict = insecure === null ? "Verified" : "Simulated, nothing is proven about hardware; otherwise verified";
  return after === null ? verdict : `${verdict}, for some time after ${time}`;
}

/** The report says how to check files that only the command line writes. */
const NO_FILES = { files: false };

function findingOf(
  facts: AuditFacts,
  files: Readonly<Record<string, KeptFile>>,
  workload: WorkloadFacts | undefined,
): Finding {
  const report = async (): Promise<Uint8Array> => fromUtf8(await settle(() => reportPage(facts, NO_FILES)));
  const body = html`${workload && workloadSection(workload)} ${reportBody(facts, NO_FILES)}`;
  return { title: titleOf(facts), body, files: { ...files, "report.html": report } };
}

/** The same `fetch`, which says what it is about. */
function telling({ fetch, say }: VerifyParts): LiveOptions["fetch"] {
  let documents = 0;
  return (url, init) => {
    if (init.method !== "POST" && ++documents % 25 === 1) say("The evidence is here. Reading the history …");
    return fetch(url, init);
  };
}
