import { isReader, policyReader, WANT_ID, workloadReader } from "../../manifest/annex-names.ts";
import type { Workload } from "../../report/workloads.ts";
import { quote } from "../../runtime/fault.ts";
import { CliError } from "../context.ts";

/**
 * Who a secret is for, as people say it and as the annex has it: `policy:<SHA-256>` or `workload:<WorkloadSecretID>`. Names are
 * those of the manifest in force and of its policies: what a name means then is decided here and signed as what it became.
 */

/**
 * @param text the value of --for
 * @returns `policy:…` or `workload:…`
 * @throws CliError usage
 */
export function readerOf(text: string, workloads: readonly Workload[]): string {
  if (text.startsWith("workload:")) {
    if (isReader(text)) return text;
    throw unknownReader(text, `${WANT_ID} behind \`workload:\``);
  }
  const hash = /^(?:policy:)?([0-9a-f]{64})$/i.exec(text)?.[1];
  if (hash !== undefined) return policyReader(hash.toLowerCase());
  if (text.startsWith("policy:")) throw unknownReader(text, "64 hexadecimal digits behind `policy:`");
  const named = workloads.filter(({ names }) => names.includes(text));
  const readers = new Set(
    named.map(({ workloadSecretId: id, policy }) => (id === undefined ? policy : workloadReader(id))),
  );
  const [reader] = readers;
  if (reader === undefined) throw unknownReader(text, `one of ${knownNames(workloads)}`);
  if (readers.size > 1)
    throw unknownReader(text, `one workload, and this is ${readers.size}: ${[...readers].join(", ")}`);
  if (isReader(reader)) return reader;
  if (reader.startsWith("workload:")) throw unknownReader(text, `a workload with ${WANT_ID}`);
  throw new CliError("usage", "this workload has no WorkloadSecretID, by which its name could be meant", {
    where: "--for",
    got: quote(text),
    want: policyReader(reader),
    hint: "every change of its file makes another policy; the annotation contrast.edgeless.systems/workload-secret-id stays",
  });
}

/** So many are listed. */
const SHOWN = 20;

function knownNames(workloads: readonly Workload[]): string {
  const names = [...new Set(workloads.map(({ names: [first] }) => first ?? ""))].filter((name) => name !== "");
  if (names.length === 0) return "the manifest's workloads, of which it has none with a name";
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} others` : "";
  return `${names.slice(0, SHOWN).map(quote).join(", ")}${more}, workload:<id> or policy:<64 hexadecimal digits>`;
}

function unknownReader(text: string, want: string): CliError {
  return new CliError("usage", "the manifest in force does not say who this is", {
    where: "--for",
    got: quote(text),
    want,
  });
}
