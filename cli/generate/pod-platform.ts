import type { Fault } from "../../runtime/fault.ts";
import { placeIn } from "../../kubernetes/resource-file.ts";
import type { Workload } from "../../kubernetes/workloads.ts";
import { type Platform, PLATFORMS } from "./platform-names.ts";

/**
 * The platform of a pod: the one that its runtime class names, if it was given. `contrast-cc` names none, which is enough
 * where one was given.
 *
 * @param given at least one
 * @param faults what is wrong is added here
 */
export function platformOf(workload: Workload, given: readonly Platform[], faults: Fault[]): Platform {
  const [first = "simulated"] = given;
  const runtimeClass = workload.template.spec.runtimeClassName;
  const { platform, isWritten } = readRuntimeClass(runtimeClass);
  const wrong = (want: string): Platform => {
    const path = [...workload.templatePath, "spec", "runtimeClassName"];
    faults.push({ where: placeIn(workload.file, workload.document, path), got: runtimeClass, want });
    return first;
  };
  const choices = given.map((name) => `contrast-cc-${name}`).join(" or ");
  if (platform !== undefined && given.includes(platform)) return platform;
  if (runtimeClass === "contrast-cc") return given.length === 1 ? first : wrong(choices);
  if (platform === undefined) return wrong(given.length === 1 ? `contrast-cc or ${choices}` : choices);
  // What an earlier run has written; all pods move to the platform of this one.
  if (isWritten && given.length === 1) return first;
  return wrong(`${choices}, or --reference-values ${platform} beside the others`);
}

/** `contrast-cc-<platform>`, with digits behind it where `generate` wrote it. */
function readRuntimeClass(runtimeClass: string): { platform: Platform | undefined; isWritten: boolean } {
  const [, name, digits] = /^contrast-cc-(.+?)(-[0-9a-f]{8})?$/.exec(runtimeClass) ?? [];
  return { platform: PLATFORMS.find((platform) => platform === name), isWritten: digits !== undefined };
}
