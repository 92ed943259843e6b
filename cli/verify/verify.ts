import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type GetManifestsResponse, UserAPI } from "../../api/userapi_pb.ts";
import { briefClaims } from "../../attestation/claims.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { ChannelError } from "../../channel/error.ts";
import { policyHash, readInitdata } from "../../manifest/initdata.ts";
import type { Step } from "../../manifest/history.ts";
import { VERSION } from "../../runtime/version.ts";
import { attestedHistory } from "../../manifest/attested-history.ts";
import { CliError, type Context, printResult, type Result } from "../context.ts";
import { callDeadline, connect } from "../coordinator.ts";
import { printableLines } from "../../report/print.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { compareWithKnownRoot, requireKnownRoot } from "../workspace/known-root.ts";
import { generationsOf } from "../../manifest/generations.ts";
import { requireNoFormerHolders } from "../workspace/former-holders.ts";
import { encodePin, readPin, replacedRoots, requireSameDeployment } from "../workspace/pin.ts";
import type { SecretVersionFacts } from "../../report/annex-facts.ts";
import { type AuditFacts, auditFacts } from "../../report/facts.ts";
import { historyInput } from "../../report/history-input.ts";
import { reportPage } from "../../report/page.ts";
import { encodeSeedSharesFile } from "../workspace/seed-shares-file.ts";
import { FILES, readIfPresent, writeOutputs } from "../workspace/workspace.ts";

export interface VerifyOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  /** SHA-256 of keys, hex. */
  readonly formerSeedshareOwner?: readonly string[];
}

/**
 * `contrast verify`: the Coordinator proves itself against the manifest at hand, and must enforce that very manifest.
 * What it says about its history and its CA is then as good as its evidence; that owners allowed every change is checked
 * here as well. What this workspace knew before must still hold, and what it knows from now on is pinned.
 */
export async function verify(context: Context, options: VerifyOptions): Promise<void> {
  const { path, bytes, manifest } = await readManifest(context, options.manifest);
  const coordinator = await connect(context, options.coordinator, manifest);
  try {
    const response = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    const verified = coordinator.server;
    if (verified === undefined) throw new ChannelError("evidence_missing", "the server was not asked for evidence");
    const history = attestedHistory(response);
    const pin = await readPin(context);
    if (pin !== undefined) await requireSameDeployment(context, pin, history);
    const active = history.steps.at(-1);
    if (active === undefined || !bytes.equals(active.manifest)) {
      throw new CliError("manifest_mismatch", "the Coordinator enforces another manifest than the one at hand", {
        where: path,
        got: active === undefined ? "no manifest" : `SHA-256 ${sha256Hex(active.manifest)}`,
        want: `SHA-256 ${sha256Hex(bytes)}`,
        hint: "ask the workload owner for the manifest that is in force, and read it before you trust it",
      });
    }
    // What is pinned was accepted when it was pinned, and owners allowed what came after.
    if (pin === undefined) requireNoFormerHolders(history.steps, options.formerSeedshareOwner ?? []);
    const replaced = replacedRoots(pin, history);
    const knownRoot = await requireKnownRoot(context, response.rootCaCert, replaced);
    const directory = join(context.workspace, FILES.verify);
    const verifiedRoot = await compareWithKnownRoot(directory, response.rootCaCert, replaced);
    if (verifiedRoot === "another") {
      context.warn("warning: the Coordinator has another root CA than at the last verify: its secrets are new");
    }
    if (replaced.size > 0) {
      context.warn(
        "warning: owners rekeyed the deployment: root CA and secrets are new since this workspace's last pin",
      );
    }
    const facts = auditFacts({
      version: VERSION,
      at: context.now(),
      address: options.coordinator,
      coordinator: verified,
      ...historyInput(history.steps),
      policies: response.policies,
      rootCa: response.rootCaCert,
      meshCa: response.meshCaCert,
    });
    const files = { ...auditFiles(response, history.steps), [FILES.report]: reportPage(facts) };
    await writeOutputs(directory, files);
    await removeOthers(directory, new Set(Object.keys(files)));
    const { latest: transition, rootKey, meshKey } = history;
    const known = {
      ...(await newSeedShares(context, response)),
      ...(knownRoot === "replaced" ? { [FILES.rootCa]: response.rootCaCert } : {}),
      // The last: what it names is there then.
      [FILES.pin]: encodePin({ transition, rootKey, meshKey }),
    };
    await writeOutputs(context.workspace, known);
    const report = join(directory, FILES.report);
    const written = [
      ...Object.keys(files).map((name) => join(directory, name)),
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
      ...(warnings.length > 0 ? { warnings } : {}),
      ...(pulls.length > 0 ? { "how guests pull images": pulls.map((name) => join(directory, name)) } : {}),
      report,
      written,
    });
  } finally {
    coordinator.close();
  }
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
async function newSeedShares(
  context: Context,
  { seedShares }: GetManifestsResponse,
): Promise<Readonly<Record<string, string>>> {
  const before = await readIfPresent(join(context.workspace, FILES.seedShares), "the seed shares");
  if (seedShares === undefined || before === undefined) return {};
  const shares = encodeSeedSharesFile(seedShares);
  return before.equals(Buffer.from(shares)) ? {} : { [FILES.seedShares]: shares };
}

/** What an auditor wants to read, each byte of it from the attested Coordinator. */
function auditFiles(response: GetManifestsResponse, steps: readonly Step[]): Record<string, string | Uint8Array> {
  const files: Record<string, string | Uint8Array> = {
    [FILES.rootCa]: response.rootCaCert,
    [FILES.meshCa]: response.meshCaCert,
    ...(response.seedShares === undefined ? {} : { [FILES.seedShares]: encodeSeedSharesFile(response.seedShares) }),
  };
  const amendments = new Set(generationsOf(steps).amendments.map(({ transition }) => transition.digest));
  let [manifestNumber, annexNumber] = [0, 0];
  const history = steps.map(({ manifest, annex, transition: { digest } }) => {
    const isAmendment = amendments.has(digest);
    const content = isAmendment ? (annex ?? Buffer.alloc(0)) : manifest;
    const file = isAmendment ? `annex.${++annexNumber}.json` : `manifest.${++manifestNumber}.json`;
    files[file] = content;
    return { file, sha256: sha256Hex(content), transition: digest };
  });
  files[FILES.history] = `${JSON.stringify(history, undefined, 2)}\n`;
  for (const policy of response.policies) {
    const hash = policyHash(policy);
    const { rego, pull } = readInitdata(policy);
    files[`policy.${hash}.rego`] = rego;
    if (pull !== undefined) files[`cdh.${hash}.toml`] = pull;
    // The policy hash is that of the whole document: `sha256sum` of this file gives it.
    files[`initdata.${hash}.toml`] = policy;
  }
  return files;
}

/** What an earlier verify wrote and this one did not has not been verified. */
async function removeOthers(directory: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(directory)) {
    const isOurs =
      /^(?:(?:manifest|annex)\.\d+\.json|policy\.[0-9a-f]{64}\.rego|(?:initdata|cdh)\.[0-9a-f]{64}\.toml)$/.test(name);
    if (isOurs && !names.has(name)) await rm(join(directory, name));
  }
}
