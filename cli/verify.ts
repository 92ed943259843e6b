import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type GetManifestsResponse, UserAPI } from "../api/userapi_pb.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { policyHash, regoOf } from "../manifest/initdata.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { callDeadline, connect } from "./coordinator.ts";
import { CliError, type Context, printResult } from "./context.ts";
import { compareWithKnownRoot, requireKnownRoot } from "./known-root.ts";
import { encodeSeedSharesFile } from "./seed-shares-file.ts";
import { FILES, readInput, writeOutputs } from "./workspace.ts";

export interface VerifyOptions {
  readonly coordinator: string;
  readonly manifest?: string;
}

/**
 * `contrast verify`: the Coordinator proves itself against the manifest at hand, and must enforce that very manifest.
 * What it says about its history and its CA is then as good as its evidence.
 */
export async function verify(context: Context, options: VerifyOptions): Promise<void> {
  const path = options.manifest ?? join(context.workspace, FILES.manifest);
  const bytes = await readInput(path, "the manifest");
  const coordinator = await connect(context, options.coordinator, parseManifest(bytes));
  try {
    const response = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    const active = response.history.at(-1);
    if (active === undefined || !bytes.equals(active.manifest)) {
      throw new CliError("manifest_mismatch", "the Coordinator enforces another manifest than the one at hand", {
        where: path,
        got: active === undefined ? "no manifest" : `SHA-256 ${sha256Hex(active.manifest)}`,
        want: `SHA-256 ${sha256Hex(bytes)}`,
        hint: "ask the workload owner for the manifest that is in force, and read it before you trust it",
      });
    }
    await requireKnownRoot(context, response.rootCaCert);
    const directory = join(context.workspace, FILES.verify);
    if ((await compareWithKnownRoot(directory, response.rootCaCert)) === "another") {
      context.warn("warning: the Coordinator has another root CA than at the last verify: its secrets are new");
    }
    const files = auditFiles(response);
    await writeOutputs(directory, files);
    await removeOthers(directory, new Set(Object.keys(files)));
    printResult(context, coordinator.server?.insecure === true, {
      result: "verified",
      coordinator: options.coordinator,
      manifest: sha256Hex(bytes),
      generation: response.history.length,
      ...coordinator.server,
      written: Object.keys(files).map((name) => join(directory, name)),
    });
  } finally {
    coordinator.close();
  }
}

/** What an auditor wants to read, each byte of it from the attested Coordinator. */
function auditFiles(response: GetManifestsResponse): Record<string, string | Uint8Array> {
  const files: Record<string, string | Uint8Array> = {
    [FILES.rootCa]: response.rootCaCert,
    [FILES.meshCa]: response.meshCaCert,
    ...(response.seedShares === undefined ? {} : { [FILES.seedShares]: encodeSeedSharesFile(response.seedShares) }),
  };
  const history = response.history.map(({ manifest, transition }, index) => {
    const file = `manifest.${index + 1}.json`;
    files[file] = manifest;
    return { file, sha256: sha256Hex(manifest), transition: Buffer.from(transition).toString("hex") };
  });
  files[FILES.history] = `${JSON.stringify(history, undefined, 2)}\n`;
  for (const policy of response.policies) {
    const hash = policyHash(policy);
    files[`policy.${hash}.rego`] = regoOf(policy);
    // The policy hash is that of the whole document: `sha256sum` of this file gives it.
    files[`initdata.${hash}.toml`] = policy;
  }
  return files;
}

/** What an earlier verify wrote and this one did not has not been verified. */
async function removeOthers(directory: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(directory)) {
    const isOurs = /^(?:manifest\.\d+\.json|policy\.[0-9a-f]{64}\.rego|initdata\.[0-9a-f]{64}\.toml)$/.test(name);
    if (isOurs && !names.has(name)) await rm(join(directory, name));
  }
}
