import type { TeeKind } from "../attestation/evidence.ts";
import { policyField } from "../attestation/policy-hash.ts";
import { type Binding, BINDINGS } from "./comparison.ts";
import { code, plural, section } from "./elements.ts";
import type { AuditFacts } from "./facts.ts";
import { type Html, html, shorten, type Value } from "./html.ts";

/**
 * The chain of trust, drawn and told: from the vendor's key to the workloads, each link with the values of this
 * deployment. The drawing is as wide as a telephone's screen, so that it can be read there and on paper.
 */

interface Link {
  readonly title: string;
  /** Two lines with room for about 38 characters. */
  readonly lines: readonly [string, string];
  /** What it does to the next one. */
  readonly verb: string;
  readonly told: Value;
  readonly isWeak?: boolean;
}

export function chainSection(facts: AuditFacts): Html {
  const links = linksOf(facts);
  return section(
    "chain",
    "Chain of trust",
    html`<div class="chain">
      <figure>${draw(links)}</figure>
      <ol>
        ${links.map(({ title, told }) => html`<li><strong>${title}.</strong> ${told}</li> `)}
      </ol>
    </div> `,
  );
}

/** What the links are called that differ from TEE to TEE; `measured` is the field with the image's measurement. */
const TEE_WORDS: Readonly<Record<TeeKind, Record<"rootKey" | "key" | "document" | "measured", string>>> = {
  snp: { rootKey: "AMD's root key", key: "Key of the chip", document: "Report", measured: "MEASUREMENT" },
  tdx: { rootKey: "Intel's root key", key: "Key of the platform", document: "Quote", measured: "MRTD" },
};

function bindingOf({ evidence }: AuditFacts): Binding {
  const isToNonce = evidence.comparisons.some(({ reference }) => reference === BINDINGS.nonce.reference);
  return isToNonce ? "nonce" : "connection";
}

function linksOf(facts: AuditFacts): Link[] {
  const { evidence, certificates, insecure } = facts;
  const [root, mesh, ...vendor] = certificates;
  const [chip, anchor] = [vendor[0], vendor.at(-1)];
  const got = (name: string): string => evidence.comparisons.find(({ field }) => field === name)?.got ?? "";
  const { rootKey, key, document, measured } = TEE_WORDS[evidence.tee];
  const policy = got(policyField(evidence.tee));
  const measurement = evidence.fields[measured] as string;
  const coordinator = facts.policies.find(({ hash }) => hash === policy);
  const active = facts.policies.filter((entry) => entry.active);
  const workloads = active.filter(({ role }) => role !== "coordinator").map(({ pod }) => pod);
  const held = evidence.comparisons.filter(({ holds }) => holds).length;
  const all = evidence.comparisons.length;
  const vendorName = insecure === null ? rootKey : "Root key of a software TEE";
  return [
    {
      title: vendorName,
      lines: [anchor?.name ?? "", `key ${brief(anchor?.keySha256)}`],
      verb: vendor.length > 2 ? `signs, by way of ${vendor[1]?.name ?? ""}` : "signs",
      told: html`${insecure === null ? "Part of this program, not of the evidence" : "Named by the manifest; no vendor stands behind it"}:
      ${code(anchor?.keySha256 ?? "")}`,
      isWeak: insecure !== null,
    },
    {
      title: key,
      lines: [chip?.name ?? "", `key ${brief(chip?.keySha256)}`],
      verb: "signs",
      told: html`${insecure === null ? "Only this chip has it" : "Made by software, for a chip that does not exist"}:
      ${code(chip?.keySha256 ?? "")}`,
      isWeak: insecure !== null,
    },
    {
      title: `${document} of the Coordinator's VM`,
      lines: [`image ${brief(measurement)}`, `policy ${brief(policy)}`],
      verb: "proves",
      told: html`Says what the VM was launched with, for this very ${bindingOf(facts)}: ${measured} ${code(measurement)}`,
      isWeak: insecure !== null,
    },
    {
      title: "Coordinator",
      lines: [facts.coordinator, coordinator?.pod ?? ""],
      verb: "enforces",
      told: html`Runs under the policy ${code(policy)}`,
    },
    {
      title: `Manifest ${facts.generation}`,
      lines: [
        `SHA-256 ${brief(facts.manifest)}`,
        `${plural(active.length, "policy", "policies")}, ${held} of ${all} checks hold`,
      ],
      verb: "decides who gets certificates of",
      told: html`The one at hand: ${code(facts.manifest)}. The evidence matches its ${code(evidence.referenceValues)}`,
    },
    {
      title: "Root CA",
      lines: [`SHA-256 ${brief(root?.sha256)}`, `until ${day(root?.notAfter)}`],
      verb: "vouches for the key of",
      told: html`Its key comes from the seed, so it stays as long as the deployment: ${code(root?.sha256 ?? "")}`,
    },
    {
      title: "Mesh CA",
      lines: [`SHA-256 ${brief(mesh?.sha256)}`, `since ${day(mesh?.notBefore)}`],
      verb: "certifies",
      told: html`Made anew with every manifest and recovery: ${code(mesh?.sha256 ?? "")}`,
    },
    {
      title: "Workloads",
      lines: [plural(workloads.length, "pod"), workloads.join(", ")],
      verb: "",
      told: "Each got its certificate after its own evidence had matched the manifest.",
    },
  ];
}

function brief(hex = ""): string {
  return hex === "" ? "none" : `${hex.slice(0, 24)}…`;
}

function day(time = ""): string {
  return time.slice(0, 10);
}

const [WIDTH, BOX, HEIGHT, GAP] = [340, 296, 74, 34] as const;

function draw(links: readonly Link[]): Html {
  const top = (index: number): number => 2 + index * (HEIGHT + GAP);
  const total = top(links.length) - GAP + 2;
  const [report, manifest] = [top(2) + HEIGHT / 2, top(4) + HEIGHT / 2];
  const middle = (report + manifest) / 2;
  const edge = WIDTH - 14;
  return html`<svg viewBox="0 0 ${WIDTH} ${total}" role="img" aria-labelledby="chain-drawing">
    <title id="chain-drawing">${links.map(({ title, verb }) => (verb === "" ? title : `${title} ${verb} `))}</title>
    ${links.map((link, index) => drawLink(link, top(index), index + 1 < links.length))}
    <path class="tie" d="M${BOX + 2} ${manifest} H${edge} V${report} H${BOX + 10}" />
    <path class="tip" d="M${BOX + 3} ${report} l9 -5 v10 z" />
    <text
      class="verb"
      transform="translate(${edge + 4} ${middle}) rotate(90)"
      text-anchor="middle"
      dominant-baseline="auto"
    >
      compared with
    </text>
  </svg>`;
}

function drawLink({ title, lines, verb, isWeak }: Link, y: number, hasNext: boolean): Html {
  const bottom = y + HEIGHT;
  return html`<g
      ><rect class="${isWeak === true ? "box weak" : "box"}" x="1" y="${y}" width="${BOX}" height="${HEIGHT}" rx="8" />
      <text class="title" x="14" y="${y + 24}">${shorten(title, 36)}</text>
      ${lines.map((line, index) => html`<text class="line" x="14" y="${y + 44 + index * 18}">${shorten(line, 37)}</text>`)}</g
    >
    ${
      hasNext
        ? html`<path class="tie" d="M28 ${bottom} V${bottom + GAP - 8}" /><path
              class="tip"
              d="M28 ${bottom + GAP - 1} l-5 -9 h10 z"
            />
            <text class="verb" x="44" y="${bottom + GAP / 2 + 5}">${shorten(verb, 42)}</text> `
        : undefined
    }`;
}
