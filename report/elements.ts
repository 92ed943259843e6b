import { type Html, html, shorten, type Value } from "./html.ts";

/** The elements that the sections of the page are made of. */

export function section(id: string, title: string, ...body: readonly Value[]): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${title}</h2>
    ${body}
  </section> `;
}

type Scalar = string | number | boolean;

/** Longer ones are shown when they are asked for, whole. */
const LONGEST = 600;

/** A value of the evidence, the manifest or a policy, as it stands. */
export function code(value: Scalar | null): Html {
  const text = String(value);
  if (text === "") return html`<span class="quiet">empty</span>`;
  if (text.length <= LONGEST) return html`<code>${text}</code>`;
  return html`<details class="long">
    <summary><code>${shorten(text, 80)}</code> <span class="quiet">${text.length} characters</span></summary>
    <code>${text}</code>
  </details>`;
}

export function codes(values: readonly (Scalar | null)[], none = "none"): Html {
  if (values.length === 0) return html`<span class="quiet">${none}</span>`;
  return html`<span class="list">${values.map((value, index) => [index === 0 ? "" : " ", code(value)])}</span>`;
}

/** A table of two columns; rows without a value are left out. */
export function properties(rows: readonly (readonly [name: string, value: Value])[]): Html {
  const shown = rows.filter(([, value]) => value !== undefined);
  return html`<table class="properties">
    <tbody>
      ${shown.map(
        ([name, value]) =>
          html`<tr>
            <th scope="row">${name}</th>
            <td>${value}</td>
          </tr> `,
      )}
    </tbody>
  </table> `;
}

/** JSON with whatever keys it has: nothing of it is left out. */
export function json(value: unknown): Html {
  if (typeof value !== "object" || value === null) return value === undefined ? NONE : code(value as Scalar | null);
  const entries = Object.entries(value as Json).filter(([, inner]) => inner !== undefined);
  const isList = Array.isArray(value);
  if (entries.length === 0) return NONE;
  if (isList && value.every(isScalar)) return codes(value);
  const rows = entries.flatMap(([name, inner]) => (isFlat(inner) ? [[name, inner] as const] : []));
  if (rows.length === entries.length) return jsonTable(rows, !isList);
  if (isList)
    return html`<ol>
      ${value.map((item) => html`<li>${json(item)}</li>`)}
    </ol>`;
  return properties(entries.map(([key, inner]) => [key, json(inner)] as const));
}

type Json = Readonly<Record<string, unknown>>;

const NONE = html`<span class="quiet">none</span>`;

const isScalar = (value: unknown): value is Scalar | null => typeof value !== "object" || value === null;

/** An object of scalars and lists of them: a row of a table. */
function isFlat(value: unknown): value is Json {
  if (isScalar(value) || Array.isArray(value)) return false;
  return Object.values(value as Json).every((inner) =>
    Array.isArray(inner) ? inner.every(isScalar) : isScalar(inner),
  );
}

function jsonTable(rows: readonly (readonly [name: string, row: Json])[], isNamed: boolean): Html {
  const keys = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
  const cells = (row: Json): Html[] => keys.map((key) => json(Object.hasOwn(row, key) ? row[key] : undefined));
  return table(
    undefined,
    [...(isNamed ? ["name"] : []), ...keys],
    rows.map(([name, row]) => [...(isNamed ? [code(name)] : []), ...cells(row)]),
  );
}

/** A fold that says what is in it. */
export function fold(summary: Value, body: Value, isOpen = false): Html {
  return html`<details${isOpen ? html` open` : undefined}><summary>${summary}</summary>
<div class="fold">${body}</div></details>
`;
}

/** A table with a head; on a narrow screen each row becomes a list, with the titles beside the values. */
export function table(
  caption: string | undefined,
  titles: readonly string[],
  rows: readonly (readonly Value[])[],
): Html {
  const cell = (value: Value, index: number): Html =>
    index === 0 ? html`<th scope="row">${value}</th>` : html`<td data-title="${titles[index]}">${value}</td>`;
  return html`<table class="rows">
    ${
      caption === undefined
        ? undefined
        : html`<caption>
            ${caption}
          </caption>`
    }
    <thead>
      <tr>
        ${titles.map((title) => html`<th scope="col">${title}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${rows.map(
        (row) =>
          html`<tr>
            ${row.map(cell)}
          </tr> `,
      )}
    </tbody>
  </table> `;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
