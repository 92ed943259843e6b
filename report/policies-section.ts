import { code, codes, fold, json, plural, properties, section, table } from "./elements.ts";
import type { TransitVersions } from "../manifest/transit.ts";
import type { AuditFacts } from "./facts.ts";
import { type Html, html, program, shorten } from "./html.ts";
import type { ReportOptions } from "./report-options.ts";
import { isPrivileged, permittedBy, type PolicyData } from "./parsed-policy.ts";
import type { PolicyFacts, RulesFacts } from "./policy-facts.ts";

/** What may run, pod by pod: the data of each policy in full, and the rules that many share once. */
export function policiesSection({ policies, rules, version }: AuditFacts, { files }: ReportOptions): Html {
  const known = new Map(rules.map((entry) => [entry.sha256, entry.known]));
  const active = policies.filter((policy) => policy.active);
  const former = policies.filter((policy) => !policy.active);
  return section(
    "policies",
    "Policies",
    html`<p>
      A policy allows a VM these containers and no others; what it does not name, the agent in the VM refuses.
    </p> `,
    active.map((policy) => policyFold(policy, known, files)),
    former.length === 0
      ? undefined
      : fold(
          html`<h3>${plural(former.length, "policy", "policies")} of earlier manifests</h3>`,
          former.map((policy) => policyFold(policy, known, files)),
        ),
    rules.map((entry) => rulesFold(entry, version)),
  );
}

function policyFold(policy: PolicyFacts, known: ReadonlyMap<string, boolean>, hasFile: boolean): Html {
  const { hash, pod, first, last, sans, role, workloadSecretId, transit, rules, data, text } = policy;
  return fold(
    html`<h3>${shorten(pod, 120)}</h3>
      ${role === null ? undefined : html` <span class="badge">${role}</span>`}
      <span class="quiet">${shorten(sans.join(", "), 120)}</span>`,
    [
      properties([
        ["Pod", code(pod)],
        ["Policy hash", code(hash)],
        ["Names (SANs)", codes(sans)],
        ["Workload secret", workloadSecretId === null ? "none" : code(workloadSecretId)],
        ["Transit key", transit === null ? undefined : versionsOf(transit)],
        ["Role", role === null ? undefined : code(role)],
        ["Manifests", first === last ? `${first}` : `${first} to ${last}`],
        ["File", hasFile ? code(`policy.${hash}.rego`) : undefined],
        ["The host may", data === null || permittedBy(data).length === 0 ? undefined : codes(permittedBy(data))],
        ["Rules", rules === null ? undefined : code(rules)],
      ]),
      rules === null || known.get(rules) === true
        ? undefined
        : html`<p class="warning">
            These rules are not those of this version: they decide how the following is enforced.
          </p>`,
      data === null ? undefined : dataOf(data),
      text === null ? undefined : listing(text),
      data === null && text === null
        ? html`<p class="warning">The Coordinator did not supply this policy.</p>`
        : undefined,
    ],
  );
}

function versionsOf({ latest, minimum }: TransitVersions): string {
  return minimum === latest ? `version ${latest}` : `version ${latest} encrypts, ${minimum} to ${latest} decrypt`;
}

function dataOf({ containers, ...others }: PolicyData): Html {
  return html`${table(
    "Containers",
    ["Container", "Image", "Command", "User", "Privileges"],
    containers.map((container) => [
      titleOf(container),
      json(container["image"]),
      json(container["command"]),
      json(container["user"]),
      isPrivileged(container) ? html`<span class="bad">all</span>` : json(container["capabilities"]),
    ]),
  )}
  ${containers.map((container) => fold(html`<h4>All of container ${titleOf(container)}</h4>`, json(container)))}
  ${fold(html`<h4>All of the pod</h4>`, json(others))}`;
}

function titleOf({ name, type }: PolicyData["containers"][number]): string {
  return shorten(name || type || "without a name", 120);
}

function rulesFold({ sha256, known, text }: RulesFacts, version: string): Html {
  const whose = known ? `of contrast ${version}` : "of another version or author";
  return fold(
    html`<h3>Rules ${whose}</h3>
      <span class="quiet">${sha256.slice(0, 12)}…</span>`,
    [properties([["SHA-256", code(sha256)]]), listing(text)],
  );
}

function listing(text: string): Html {
  return html`<pre tabindex="0"><code>${program(text)}</code></pre> `;
}
