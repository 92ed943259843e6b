import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Where .ci/helm puts it. */
const CACHED = join(import.meta.dirname, "../node_modules/.cache/helm-v3.18.6/helm");

/** Helm 3, by its path or name; empty: there is none. */
export const HELM = [CACHED, "helm"].find(isHelm3) ?? "";

/** Why tests with it are skipped, as the end of their name; empty: they are not. */
export const NO_HELM = HELM === "" ? ": there is no helm; .ci/helm installs it where there is Go" : "";

function isHelm3(command: string): boolean {
  return /^v3[.]/.test(String(spawnSync(command, ["version", "--short"]).stdout));
}
