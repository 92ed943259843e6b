import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * For tests: whether openssl accepts a chain by this clock, with files as pods have them.
 *
 * @param directory for the files
 * @param chain PEM
 * @param cas PEM, those that are trusted
 */
export function isAcceptedByOpenssl(directory: string, chain: string, cas: string, at: Date): boolean {
  const [chainFile, caFile] = [join(directory, "chain.pem"), join(directory, "ca.pem")];
  writeFileSync(chainFile, chain);
  writeFileSync(caFile, cas);
  const args = ["verify", "-attime", `${at.getTime() / 1000}`, "-CAfile", caFile, "-untrusted", chainFile, chainFile];
  try {
    execFileSync("openssl", args, { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}
