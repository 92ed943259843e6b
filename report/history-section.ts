import { code, fold, plural, properties, section, table } from "./elements.ts";
import type { AmendmentFacts } from "./annex-facts.ts";
import type { AuditFacts, HistoryFacts } from "./facts.ts";
import { type Html, html, shorten } from "./html.ts";
import type { Change } from "./manifest-changes.ts";
import type { ReportOptions } from "./report-options.ts";

/** Every manifest with what it changed, the one in force first. */
export function historySection({ history, timeline, amendments }: AuditFacts, { files }: ReportOptions): Html {
  const amended = Map.groupBy(amendments, ({ generation }) => generation);
  const warnings = Map.groupBy(timeline, ({ generation, level }) => (level === "warning" ? generation : undefined));
  return section(
    "history",
    "Manifests",
    html`<p>
      The newest is in force. Nobody vouches for times, so the history has
      none.${files ? " A file beside this page has each manifest." : undefined}
    </p> `,
    history.toReversed().map((entry, index) => {
      const { generation } = entry;
      const about = { warnings: warnings.get(generation)?.length, amendments: amended.get(generation) ?? [] };
      return historyEntry(entry, about, index === 0, files);
    }),
  );
}

interface About {
  readonly warnings: number | undefined;
  readonly amendments: readonly AmendmentFacts[];
}

function historyEntry(entry: HistoryFacts, { warnings, amendments }: About, isActive: boolean, hasFile: boolean): Html {
  const { generation, sha256, transition, signedBy, rootKey, rekey, policies, changes } = entry;
  const badge = warnings && html`<span class="badge warning">${plural(warnings, "warning")}</span>`;
  return fold(
    html`<h3>Manifest ${generation}</h3>
      ${isActive ? html`<span class="badge">in force</span>` : undefined} ${badge}
      <span class="quiet">${summaryOf(entry)}</span>`,
    [
      properties([
        ["File", hasFile ? code(`manifest.${generation}.json`) : undefined],
        ["SHA-256", code(sha256)],
        ["Transition", code(transition)],
        ["Signed by the workload owners", signedBy.length === 0 ? "nobody: it is the first" : signedBy.map(code)],
        ["Root CA key", rekey ? html`${code(rootKey)}, with a new seed: a rekey` : code(rootKey)],
        ["Policies", policies === null ? "this version can't read the manifest" : policies],
      ]),
      differences(changes ?? []),
      amendments.map((amendment) => amendmentOf(amendment, hasFile)),
    ],
    isActive,
  );
}

/** Under the manifest that was in force, and stayed so. */
function amendmentOf(amendment: AmendmentFacts, hasFile: boolean): Html {
  const { number, kind, transition, annex, signedBy, summary, changes } = amendment;
  const title = kind === "use" ? "use of a leave to format" : "secrets or volumes";
  return fold(
    html`<h4>Amendment ${number}: ${title}</h4>
      <span class="quiet">${shorten(summary.join(", "), 140)}</span>`,
    [
      properties([
        ["File", hasFile ? code(`annex.${number}.json`) : undefined],
        ["SHA-256", code(annex)],
        ["Transition", code(transition)],
        ["Kind", code(kind)],
        ["In short", summary.map((line, index) => [index === 0 ? "" : html`<br />`, line])],
        ["Signed by the workload owners", kind === "use" ? "nobody: the Coordinator counted it" : signedBy.map(code)],
      ]),
      differences(changes),
    ],
  );
}

function summaryOf({ generation, changes }: HistoryFacts): string {
  if (changes === null) return generation === 1 ? "the first" : "can't be compared with the previous one";
  const subjects = [...new Set(changes.map(({ kind, subject }) => `${kind}: ${subject}`))];
  return shorten(subjects.join(", "), 140) || "the same as the previous one, with a new mesh CA";
}

/** One block for each subject. */
function differences(changes: readonly Change[]): Html {
  const subjects = Map.groupBy(changes, ({ kind, subject }) => `${kind} ${subject}`);
  return html`${[...subjects.values()].map(difference)}`;
}

function difference(changes: readonly Change[]): Html {
  const [{ kind, subject } = { kind: "", subject: "" }] = changes;
  const places = Map.groupBy(changes, ({ path }) => path);
  return html`<div class="difference">
    <h4>${kind}: ${shorten(subject, 200)}</h4>
    <dl>
      ${[...places].map(
        ([path, values]) =>
          html`<dt>${path === "" ? "value" : code(path)}</dt>
            ${values.map(({ from, to }) => [side("gone", from), side("come", to)])} `,
      )}
    </dl>
  </div> `;
}

function side(kind: "gone" | "come", value: string | null): Html | undefined {
  if (value === null) return undefined;
  return kind === "gone"
    ? html`<dd class="gone"><del>${code(value)}</del></dd> `
    : html`<dd class="come"><ins>${code(value)}</ins></dd> `;
}

/** What made the deployment weaker, or whose it is, in the order of the manifests. */
export function timelineSection({ timeline }: AuditFacts): Html {
  return section(
    "timeline",
    "Warnings",
    timeline.length === 0
      ? html`<p>None.</p>`
      : table(
          "What to understand, by the manifest that introduced it",
          ["Manifest", "Level", "What", "Code"],
          timeline.map(({ generation, level, text, code: name }) => [
            html`Manifest ${generation}`,
            html`<span class="${level}">${level}</span>`,
            text.length > 600 ? code(text) : text,
            code(name),
          ]),
        ),
  );
}
