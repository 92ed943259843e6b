import { dirname, basename, join } from "node:path";
import { briefClaims } from "../../attestation/claims.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { SecretVersionFacts } from "../../report/annex-facts.ts";
import { type AuditFacts, auditFacts } from "../../report/facts.ts";
import { historyInput } from "../../report/history-input.ts";
import { reportPage } from "../../report/page.ts";
import { printableLines } from "../../report/print.ts";
import { VERSION } from "../../runtime/version.ts";
import { isUrl } from "../address.ts";
import { CliError, type Context, printResult, type Result } from "../context.ts";
import type { Deployment } from "../workspace/deployment.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { compareWithKnownRoot, requireKnownRoot } from "../workspace/known-root.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";
import { encodePin, type Pin, readPin, replacedRoots, requireSameDeployment } from "../workspace/pin.ts";
import { encodeSeedSharesFile } from "../workspace/seed-shares-file.ts";
import { FILES, readIfPresent, writeOutputs } from "../workspace/workspace.ts";
import { auditFiles, removeOthers } from "./audit-files.ts";

export interface VerifyOptions {
  /** `host:port`, or the URL of the HTTP API. */
  readonly coordinator: string;
  readonly manifest?: string;
  /** Where to keep a statement of the result. */
  readonly save?: string;
  /** SHA-256 of keys, hex. */
  readonly formerSeedshareOwner?: readonly string[];
}

/**
 * `contrast verify`: the Coordinator proves itself against the manifest at hand, and must enforce that very manifest.
 * What it says about its history and its CA is then as good as its evidence; that owners allowed every change is checked
 * here as well. What this workspace knew before must still hold, and what it knows from now on is pinned.
 */
export async function verify(context: Context, options: VerifyOptions): Promise<void> {
  const { coordinator: address, save } = options;
  if (save !== undefined && !isUrl(address)) throw httpRequired(address);
  const atHand = await readManifest(context, options.manifest);
  const { deployment, statement } = await readDeployment(context, address, atHand);
  const pin = await readPin(context);
  if (pin !== undefined) await requireSameDeployment(context, pin, deployment);
  requireInForce(deployment, atHand);
  // What is pinned was accepted when it was pinned, and owners allowed what came after.
  if (pin === undefined) requireNoFormerHolders(deployment.steps, options.formerSeedshareOwner ?? []);
  const replaced = replacedRoots(pin, deployment);
  const knownRoot = await requireKnownRoot(context, deployment.rootCa, replaced);
  const directory = join(context.workspace, FILES.verify);
  const verifiedRoot = await compareWithKnownRoot(directory, deployment.rootCa, replaced);
  if (verifiedRoot === "another") {
    context.warn("warning: the Coordinator has another root CA than at the last verify: its secrets are new");
  }
  if (replaced.size > 0) {
    context.warn("warning: owners rekeyed the deployment: root CA and secrets are new since this workspace's last pin");
  }
  warnOfOldShares(context, deployment, pin);
  const { coordinator: verified, rootCa, meshCa, policies } = deployment;
  const facts = auditFacts({
    version: VERSION,
    at: context.now(),
    address,
    coordinator: verified,
    binding: isUrl(address) ? "nonce" : "connection",
    ...historyInput(deployment.steps),
    policies,
    rootCa,
    meshCa,
  });
  const saved = save === undefined || statement === undefined ? {} : { [save]: await statement() };
  const files = { ...auditFiles(deployment), [FILES.report]: reportPage(facts) };
  await writeOutputs(directory, files);
  await removeOthers(directory, new Set(Object.keys(files)));
  for (const [path, bytes] of Object.entries(saved)) await writeOutputs(dirname(path), { [basename(path)]: bytes });
  const { latest: transition, rootKey, meshKey } = deployment;
  const known = {
    ...(await newSeedShares(context, deployment)),
    ...(knownRoot === "replaced" ? { [FILES.rootCa]: rootCa } : {}),
    // The last: what it names is there then.
    [FILES.pin]: encodePin({ transition, rootKey, meshKey }),
  };
  await writeOutputs(context.workspace, known);
  const report = join(directory, FILES.report);
  const written = [
    ...Object.keys(files).map((name) => join(directory, name)),
    ...Object.keys(saved),
    ...Object.keys(known).map((name) => join(context.workspace, name)),
  ];
  if (context.format === "json") {
    context.out(`${printableLines(JSON.stringify({ ...facts, report, written }, undefined, 2))}\n`);
    return;
  }
  const warnings = warningsOf(facts);
  const pulls = Object.keys(files).filter((name) => name.startsWith("cdh."));
  printResult(context, verified.claims.insecure, {
    result: facts.result,
    coordinator: facts.coordinator,
    manifest: facts.manifest,
    generation: facts.generation,
    ...briefClaims(verified.claims),
    "earlier certificates": earlierCertificates(facts),
    ...annexLines(facts),
    ...(deployment.seedShares === undefined ? { "seed shares": "not read: they are not served over HTTP" } : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
    ...(pulls.length > 0 ? { "how guests pull images": pulls.map((name) => join(directory, name)) } : {}),
    report,
    written,
  });
}

interface Read {
  readonly deployment: Deployment;
  /** Makes what can be verified later, without the deployment. */
  readonly statement: (() => Promise<Uint8Array>) | undefined;
}

/** Over the attested channel, or over HTTP: what is read is verified in full either way. */
async function readDeployment(context: Context, address: string, atHand: ManifestAtHand): Promise<Read> {
  if (!isUrl(address)) {
    const { deploymentOverChannel } = await import("./over-channel.ts");
    return { statement: undefined, deployment: await deploymentOverChannel(context, address, atHand) };
  }
  const { deploymentAt, liveOptions } = await import("../workspace/http-deployment.ts");
  const deployment = await deploymentAt(context, address, atHand);
  const statement = async (): Promise<Uint8Array> => {
    const { makeStatement } = await import("../../verifier/statement.ts");
    const known = { manifest: atHand.bytes };
    return makeStatement(liveOptions(context, address, known), deployment.verification);
  };
  return { deployment, statement };
}

/** Evidence of the channel is bound to its connection, and nobody can check that later. */
function httpRequired(address: string): CliError {
  return new CliError("http_required", "a statement is made over the HTTP API alone", {
    where: `--coordinator ${address}, --save`,
    want: "the address of the HTTP API: http://<host>:1314, or https:// of the proxy before it",
    hint: "evidence of the attested channel is bound to its connection, so nobody could check it later",
  });
}

/** @throws CliError manifest_mismatch */
function requireInForce({ steps }: Deployment, { path, bytes }: ManifestAtHand): void {
  const active = steps.at(-1);
  if (active !== undefined && bytes.equals(active.manifest)) return;
  throw new CliError("manifest_mismatch", "the Coordinator enforces another manifest than the one at hand", {
    where: path,
    got: active === undefined ? "no manifest" : `SHA-256 ${sha256Hex(active.manifest)}`,
    want: `SHA-256 ${sha256Hex(bytes)}`,
    hint: "ask the workload owner for the manifest that is in force, and read it before you trust it",
  });
}

/** The pin moves on, and the shares of this workspace can't, where they are not served. */
function warnOfOldShares(context: Context, { seedShares, steps }: Deployment, pin: Pin | undefined): void {
  const pinned = steps.find(({ transition }) => transition.digest === pin?.transition);
  if (seedShares !== undefined || pinned === undefined) return;
  if (pinned.transition.seedShares === steps.at(-1)?.transition.seedShares) return;
  context.warn(
    "warning: seed shares were made anew since this workspace's last pin, and are not served over HTTP: to recover from " +
      `here, run \`contrast verify\` over the attested channel (host:1313), which writes ${FILES.seedShares}`,
  );
}

function earlierCertificates({ earlierCertificatesUntil: until, time }: AuditFacts): string {
  return until < time
    ? `ended on ${until}`
    : `until ${until} for clients that trust ${FILES.rootCa}, none for clients that trust ${FILES.meshCa}`;
}

/** What owners changed beside the manifest, as far as there is any. */
function annexLines({ secrets, volumes }: AuditFacts): Result {
  const readers = ({ version, readers: all }: SecretVersionFacts): string => {
    const names = all.map(({ reader, pods }) => `${reader}${pods.length === 0 ? "" : ` (${pods.join(", ")})`}`);
    return `version ${version}, read by ${names.join(", ")}`;
  };
  const lines = {
    secrets: secrets.map(({ name, latestVersion, versions }) => {
      return `${name}: ${versions.map(readers).join("; ") || `removed after version ${latestVersion}`}`;
    }),
    volumes: volumes.map(({ volume, workloadSecretId, formatsAllowed, formatsUsed }) => {
      return `${volume} of ${workloadSecretId}: formatted ${formatsUsed} of ${formatsAllowed} times allowed`;
    }),
  };
  return Object.fromEntries(Object.entries(lines).filter(([, all]) => all.length > 0));
}

const MOST_WARNINGS = 20;

function warningsOf({ timeline }: AuditFacts): string[] {
  const warnings = timeline.filter(({ level }) => level === "warning");
  const shown = warnings.slice(-MOST_WARNINGS).map(({ generation, text }) => `manifest ${generation}: ${text}`);
  const others = warnings.length - shown.length;
  return [...(others > 0 ? [`${others} more for earlier manifests, in the report`] : []), ...shown];
}

/**
 * The shares that a `set` of this workspace wrote are what it recovers with, so they are replaced by those that the pin
 * names from now on. Who has none there recovers with those of the last `verify`.
 */
async function newSeedShares(context: Context, { seedShares }: Deployment): Promise<Readonly<Record<string, string>>> {
  const before = await readIfPresent(join(context.workspace, FILES.seedShares), "the seed shares");
  if (seedShares === undefined || before === undefined) return {};
  const shares = encodeSeedSharesFile(seedShares);
  return before.equals(Buffer.from(shares)) ? {} : { [FILES.seedShares]: shares };
}
