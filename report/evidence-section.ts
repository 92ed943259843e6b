import type { TeeKind } from "../attestation/evidence.ts";
import { code, codes, fold, json, properties, section, table } from "./elements.ts";
import type { AuditFacts } from "./facts.ts";
import { type Html, html } from "./html.ts";

const DOCUMENT: Readonly<Record<TeeKind, string>> = { snp: "report", tdx: "quote" };

/** The Coordinator's evidence, field by field against the reference values, and the whole of it. */
export function evidenceSection({ evidence, referenceValues }: AuditFacts): Html {
  const { platform, comparisons, tcbStatus, advisories, fields } = evidence;
  return section(
    "evidence",
    "Evidence of the Coordinator",
    properties([
      ["Platform", platform],
      ["Matches", code(evidence.referenceValues)],
      ["Intel's TCB status of the platform", tcbStatus === null ? undefined : code(tcbStatus)],
      ["Intel's advisories", tcbStatus === null ? undefined : codes(advisories)],
    ]),
    table(
      "What was compared",
      ["Field", "Got", "Want", "Reference"],
      comparisons.map(({ field, got, want, reference, holds }) => [
        html`<span class="${holds ? "good" : "bad"}">${holds ? "✓" : "✗"}</span>&nbsp;${breakable(field)}`,
        code(got),
        code(want),
        html`<code>${breakable(reference)}</code>`,
      ]),
    ),
    fold(html`<h3>Every field of the ${DOCUMENT[evidence.tee]}</h3>`, json(fields)),
    fold(html`<h3>Reference values of the manifest in force</h3>`, json(referenceValues)),
  );
}

/** Names of bits and paths are long, and narrow columns break them behind a dot. */
function breakable(text: string): Html {
  const [name = "", ...parts] = text.split(".");
  return html`${name}${parts.map((part) => html`.<wbr />${part}`)}`;
}
