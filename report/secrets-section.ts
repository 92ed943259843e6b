import type { ReaderFacts, SecretVersionFacts } from "./annex-facts.ts";
import { code, section, table } from "./elements.ts";
import type { AuditFacts } from "./facts.ts";
import { type Html, html } from "./html.ts";

/** Which secrets there are and who may read them, and how often volumes may be formatted: the annex in force. */
export function secretsSection({ secrets, volumes, annex }: AuditFacts): Html {
  return section(
    "secrets",
    "Secrets and volumes",
    annex === null
      ? html`<p>None: owners have set no secret by name, and allowed to format no volume.</p> `
      : html`<p>
          Owners change these without another manifest; the annex in force is ${code(annex)}. It has no values. A host
          that rolls the state back brings older versions back: compare the numbers with those that you know.
        </p> `,
    secrets.length === 0
      ? undefined
      : table(
          "Secrets by name",
          ["Secret", "Latest version", "Can be read"],
          secrets.map(({ name, latestVersion, versions }) => [
            code(name),
            latestVersion,
            versions.length === 0
              ? html`<span class="quiet">removed</span>`
              : versions.map((version, index) => [index === 0 ? "" : html`<br />`, versionOf(version)]),
          ]),
        ),
    volumes.length === 0
      ? undefined
      : table(
          "Encrypted volumes that were allowed to be formatted",
          ["Volume", "Workload secret", "Pods", "Allowed", "Used"],
          volumes.map(({ volume, workloadSecretId, pods, formatsAllowed, formatsUsed }) => [
            code(volume),
            code(workloadSecretId),
            podsOf(pods),
            formatsAllowed,
            formatsUsed,
          ]),
        ),
  );
}

function versionOf({ version, readers, ciphertext }: SecretVersionFacts): Html {
  const all = readers.map((reader, index) => [index === 0 ? "" : ", ", readerOf(reader)]);
  return html`version ${version}: ${all}; <span class="quiet">ciphertext ${code(ciphertext)}</span>`;
}

function readerOf({ reader, pods }: ReaderFacts): Html {
  return html`${code(reader)} (${podsOf(pods)})`;
}

function podsOf(pods: readonly string[]): string {
  return pods.length === 0 ? "no pod of the manifest in force" : pods.join(", ");
}
