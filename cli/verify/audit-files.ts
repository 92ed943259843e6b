import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { sha256Hex } from "../../bytes/sha256.ts";
import { generationsOf } from "../../manifest/generations.ts";
import { policyHash, readInitdata } from "../../manifest/initdata.ts";
import type { Deployment } from "../workspace/deployment.ts";
import { encodeSeedSharesFile } from "../workspace/seed-shares-file.ts";
import { FILES } from "../workspace/workspace.ts";

/** What an auditor wants to read, each byte of it from the attested Coordinator. */
export function auditFiles({ steps, ...deployment }: Deployment): Record<string, string | Uint8Array> {
  const { rootCa, meshCa, policies, seedShares } = deployment;
  const files: Record<string, string | Uint8Array> = {
    [FILES.rootCa]: rootCa,
    [FILES.meshCa]: meshCa,
    ...(seedShares === undefined ? {} : { [FILES.seedShares]: encodeSeedSharesFile(seedShares) }),
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
  for (const policy of policies) {
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
export async function removeOthers(directory: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(directory)) {
    const isOurs =
      /^(?:(?:manifest|annex)\.\d+\.json|policy\.[0-9a-f]{64}\.rego|(?:initdata|cdh)\.[0-9a-f]{64}\.toml)$/.test(name);
    if (isOurs && !names.has(name)) await rm(join(directory, name));
  }
}
