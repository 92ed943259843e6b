import { fromUtf8, toBase64 } from "../bytes/encode.ts";
import { digest } from "../crypto/node.ts";
import { chainSection } from "./chain-section.ts";
import { certificatesSection, ownersSection } from "./certificates-section.ts";
import { code, plural, properties, section } from "./elements.ts";
import { evidenceSection } from "./evidence-section.ts";
import type { AuditFacts } from "./facts.ts";
import { historySection, timelineSection } from "./history-section.ts";
import { Html, html } from "./html.ts";
import { policiesSection } from "./policies-section.ts";
import type { ReportOptions } from "./report-options.ts";
import { secretsSection } from "./secrets-section.ts";
import { STYLE } from "./style.ts";

/**
 * report.html: the facts for people, as one page that asks nobody for anything. It has no script, and its
 * Content-Security-Policy (CSP Level 3) allows nothing but its own style sheet: should a stranger's text become markup
 * after all, it can neither run nor call home. The same facts give the same bytes.
 */
export function reportPage(facts: AuditFacts, options: ReportOptions = WITH_FILES): string {
  const style = toBase64(digest("sha256", fromUtf8(STYLE)));
  const policy = `default-src 'none'; style-src 'sha256-${style}'; base-uri 'none'; form-action 'none'`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="referrer" content="no-referrer" />
        <meta name="color-scheme" content="light dark" />
        <title>Contrast verification report, ${facts.coordinator}</title>
        ${new Html(`<style>${STYLE}</style>`)}
      </head>
      <body>
        <a class="skip" href="#summary">Skip to the summary</a>
        <header>
          <h1>Contrast verification report</h1>
        </header>
        <main>${reportBody(facts, options)}</main>
      </body>
    </html> `.toString();
}

const WITH_FILES: ReportOptions = { files: true };

/** What is between the title and the end, for a page that has more than a report. */
export function reportBody(facts: AuditFacts, options: ReportOptions): Html {
  return html`${summary(facts)} ${contents()} ${SECTIONS.map((section) => section(facts, options))}`;
}

function summary(facts: AuditFacts): Html {
  const { verdict, insecure, coordinator, manifest, generation, timeline } = facts;
  const secrets = facts.secrets.filter(({ versions }) => versions.length > 0).length;
  const warnings = timeline.filter(({ level }) => level === "warning").length;
  return section(
    "summary",
    "Summary",
    insecure === null
      ? html`<p class="verdict proven">${verdict}</p> `
      : html`<p class="verdict insecure"><strong>${insecure}.</strong> ${verdict}</p> `,
    properties([
      ["Result", resultOf(facts)],
      ["Coordinator", facts.after === null ? code(coordinator) : html`${code(coordinator)}, says who saved it`],
      ["Manifest in force", html`number ${generation}, ${code(manifest)}`],
      ["May run", plural(facts.policies.filter(({ active }) => active).length, "pod")],
      ["Secrets by name", secrets === 0 ? "none" : html`<a href="#secrets">${secrets}</a>`],
      ["Warnings", warnings === 0 ? "none" : html`<a href="#timeline">${plural(warnings, "warning")}</a>`],
    ]),
  );
}

function resultOf({ result, time, version, after }: AuditFacts): Html {
  const when = html`<time datetime="${time}">${time}</time>`;
  return after === null
    ? html`${result} at ${when} by contrast ${version}`
    : html`${result} by contrast ${version} for some time after ${when}, the ${after}`;
}

function contents(): Html {
  const places = [
    ["chain", "Chain of trust"],
    ["evidence", "Evidence"],
    ["history", "Manifests"],
    ["timeline", "Warnings"],
    ["secrets", "Secrets and volumes"],
    ["policies", "Policies"],
    ["owners", "Owners"],
    ["certificates", "Certificates"],
    ["check", "Check it yourself"],
  ] as const;
  return html`<nav aria-label="Contents">
    <ul>
      ${places.map(([id, title]) => html`<li><a href="#${id}">${title}</a></li>`)}
    </ul>
  </nav>`;
}

function checkSection({ coordinator, manifest, generation, after }: AuditFacts, { files }: ReportOptions): Html {
  const command = after === null ? html`contrast verify -c ${coordinator}` : html`contrast verify --from evidence.json`;
  return section(
    "check",
    "Check it yourself",
    html`<p>
        This page is not signed: it is as trustworthy as the machine that wrote it. If you rely on the deployment, run
        the same command:
      </p>
      <pre tabindex="0"><code>${command} -m manifest.json</code></pre>
      ${
        files
          ? html`<p>
              The manifest is the thing to read. ${code(`sha256sum manifest.${generation}.json`)} has to print
              ${code(manifest)}; the SHA-256 of an initdata document beside this page is the policy hash in its name.
            </p> `
          : html`<p>
              The manifest is the thing to read. ${code("sha256sum manifest.json")} has to print ${code(manifest)}.
            </p> `
      }`,
  );
}

const SECTIONS = [
  chainSection,
  evidenceSection,
  historySection,
  timelineSection,
  secretsSection,
  policiesSection,
  ownersSection,
  certificatesSection,
  checkSection,
];
