import { code, properties, section } from "./elements.ts";
import type { AuditFacts } from "./facts.ts";
import { type Html, html } from "./html.ts";

export function ownersSection(facts: AuditFacts): Html {
  const { workloadOwners, workloadOwnerThreshold, seedShareOwners, seedShareThreshold } = facts;
  return section(
    "owners",
    "Owners",
    properties([
      [
        "May set another manifest",
        workloadOwners.length === 0
          ? "nobody: the deployment is immutable"
          : html`${workloadOwnerThreshold} of
            ${workloadOwners.length}${workloadOwnerThreshold > 1 ? ", together" : ""}${workloadOwners.map(
              (owner) => html`<br />${code(owner)}`,
            )}`,
      ],
      [
        "May recover the Coordinator",
        seedShareOwners.length === 0
          ? "nobody"
          : html`${seedShareThreshold} of ${seedShareOwners.length},
            together${seedShareOwners.map(({ sha256, key }) => html`<br />${code(sha256)} ${key}`)}`,
      ],
    ]),
    html`<p class="quiet">Keys by the SHA-256 of their SubjectPublicKeyInfo.</p> `,
  );
}

export function certificatesSection(facts: AuditFacts): Html {
  const { certificates, certificateLifetime, earlierCertificatesUntil: until, time } = facts;
  return section(
    "certificates",
    "Certificates",
    certificates.map(
      ({ name, subject, issuer, serial, key, sha256, keySha256, notBefore, notAfter, generation }) =>
        html`<h3>${name}</h3>
          ${properties([
            ["Subject", code(subject)],
            ["Issuer", code(issuer)],
            ["Serial number", code(serial)],
            ["Key", code(key)],
            ["SHA-256 of the certificate", code(sha256)],
            ["SHA-256 of its key", code(keySha256)],
            ["Valid", html`${code(notBefore)} to ${code(notAfter)}`],
            ["Made for", generation === null ? undefined : html`manifest ${generation}`],
          ])}`,
    ),
    html`<h3>Certificates of workloads</h3>
      ${properties([
        ["Live", code(certificateLifetime)],
        ["Made for", html`manifest ${facts.generation}, as the intermediate CA of their chain says`],
        [
          "Of earlier manifests, or issued before a recovery",
          html`${until < time ? "ended" : "may live until"} <time datetime="${until}">${until}</time>, for those who
            trust the root CA; by the Coordinator's clock`,
        ],
      ])}
      <p class="quiet">
        The intermediate CA in the chains of workloads has the mesh CA's key. The root CA signs it, and it is valid as
        long as the workload's certificate. Clients that trust the mesh CA accept no certificate of an earlier manifest.
      </p> `,
  );
}
