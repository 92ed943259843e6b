/**
 * The style sheet of the report: fonts of the system, colours by the reader's preference with a contrast of at least 7 to
 * 1 for text and 4.5 to 1 for what stands beside it, and on paper everything that is folded on a screen.
 */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f6f7f9; --text: #1b1f24; --quiet: #555c66; --line: #d5d9df; --link: #0b57b0;
  --good: #14653a; --good-page: #e8f5ed; --warn: #7a4300; --warn-page: #fff3df; --bad: #9c1c17; --bad-page: #fdeceb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --panel: #1c2026; --text: #e8eaed; --quiet: #a6adb8; --line: #3a414b; --link: #8ab8f5;
    --good: #7bd6a0; --good-page: #12291d; --warn: #f2bd73; --warn-page: #2c2213; --bad: #ff9c94; --bad-page: #331a19;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere;
}
h1 { margin: 0.5rem 0 0; font-size: 1.6rem; line-height: 1.25; letter-spacing: -0.01em; }
h2 { margin: 3rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
h3 { margin: 1.5rem 0 0.5rem; font-size: 1.02rem; }
h4 { margin: 1.25rem 0 0.25rem; font-size: 0.95rem; }
summary :is(h3, h4) { display: inline; margin: 0; }
#summary h2 { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
p { margin: 0.5rem 0 1rem; max-width: 46rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.84em; }
.list > code { padding: 0 0.3em; border: 1px solid var(--line); border-radius: 3px; }
code, td, dd, h3, h4 { unicode-bidi: isolate; }
.quiet, caption, figcaption { color: var(--quiet); font-weight: normal; }
.badge { padding: 0.1rem 0.5rem; border: 1px solid var(--line); border-radius: 1rem; font-size: 0.8rem; }
.good { color: var(--good); font-weight: 700; }
.bad { color: var(--bad); font-weight: 700; }
.verdict { padding: 0.9rem 1.1rem; border-left: 5px solid var(--line); background: var(--panel); font-size: 1.08rem; max-width: none; }
.verdict.proven { border-color: var(--good); background: var(--good-page); }
.verdict.insecure { border-color: var(--bad); background: var(--bad-page); color: var(--bad); }
.warning { color: var(--warn); font-weight: 600; }
p.warning { padding: 0.6rem 0.9rem; border-left: 4px solid var(--warn); background: var(--warn-page); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1.5rem 0 0; padding: 0; list-style: none; }

table { width: 100%; border-collapse: collapse; }
caption { padding: 0.75rem 0 0.4rem; text-align: left; font-size: 0.9rem; }
th, td { padding: 0.4rem 0.9rem 0.4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-size: 0.85rem; }
tbody th { font-weight: 600; }
.properties > tbody > tr > th { width: 13rem; color: var(--quiet); font-weight: normal; }
.rows td, .rows th { font-size: 0.93rem; }
.rows { table-layout: fixed; }
#evidence > .rows tbody th { font-size: 0.86rem; }
#evidence > .rows th:first-child { width: 27%; }
#evidence > .rows th:last-child { width: 22%; }
#timeline .rows th:nth-child(-n + 2) { width: 6.5rem; }
#timeline .rows th:last-child { width: 14rem; }
.fold > .rows th:first-child { width: 9rem; }
.fold > .rows th:nth-child(4) { width: 5rem; }
td .rows th { font-weight: normal; }
td table { margin: -0.4rem 0; }
td table tr:last-child > * { border-bottom: 0; }
td ol { margin: 0; padding-left: 1.5rem; }

details { border: 1px solid var(--line); border-radius: 6px; margin: 0.5rem 0; }
summary { padding: 0.55rem 0.9rem; cursor: pointer; border-radius: 6px; }
summary:hover { background: var(--panel); }
.fold { padding: 0 0.9rem 0.75rem; border-top: 1px solid var(--line); }
details.long { margin: 0; }
details.long > code { display: block; padding: 0.5rem 0.9rem; }
pre { margin: 0.75rem 0; padding: 0.9rem; background: var(--panel); border-radius: 6px; white-space: pre-wrap; tab-size: 2; }

.difference dl { margin: 0.25rem 0 0.75rem; padding-left: 0.9rem; border-left: 3px solid var(--line); }
.difference dt { margin-top: 0.4rem; color: var(--quiet); }
.difference dd { position: relative; margin: 0.15rem 0; padding: 0.1rem 0.5rem 0.1rem 1.5rem; border-radius: 3px; }
.difference dd::before { position: absolute; left: 0.5rem; font-weight: 700; }
.gone { background: var(--bad-page); }
.gone::before { content: "\\2212"; color: var(--bad); }
.come { background: var(--good-page); }
.come::before { content: "+"; color: var(--good); }
del, ins { text-decoration: none; }

.chain { display: grid; grid-template-columns: minmax(0, 23rem) minmax(0, 1fr); gap: 2.5rem; align-items: start; }
.chain figure { margin: 0; }
.chain svg { display: block; width: 100%; height: auto; }
.chain ol { margin: 0; padding-left: 1.3rem; }
.chain li { margin-bottom: 0.9rem; }
svg .box { fill: var(--panel); stroke: var(--quiet); }
svg .weak { fill: var(--bad-page); stroke: var(--bad); stroke-dasharray: 5 4; }
svg .title { fill: var(--text); font: 600 14px system-ui, sans-serif; }
svg .line { fill: var(--text); font: 11.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
svg .verb { fill: var(--quiet); font: 12px system-ui, sans-serif; }
svg .tie { fill: none; stroke: var(--quiet); stroke-width: 1.5; }
svg .tip { fill: var(--quiet); }

@media screen and (max-width: 44rem) {
  .chain { grid-template-columns: minmax(0, 1fr); }
  .chain svg { max-width: 24rem; margin: 0 auto; }
  .rows thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .rows tr, .rows td, .rows th, .properties > tbody > tr > th, .properties > tbody > tr > td { display: block; width: auto; }
  .rows th, .rows td, .properties th { border-bottom: 0; padding-bottom: 0; }
  .rows tr { padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
  .rows td::before { content: attr(data-title) ": "; color: var(--quiet); }
  #evidence > .rows th, #timeline .rows th, .fold > .rows th { width: auto !important; }
}

@media print {
  :root {
    --page: #ffffff; --panel: #f6f7f9; --text: #000000; --quiet: #444444; --line: #bbbbbb; --link: #000000;
    --good: #14653a; --good-page: #ffffff; --warn: #7a4300; --warn-page: #ffffff; --bad: #9c1c17; --bad-page: #ffffff;
  }
  @page { margin: 18mm 16mm; }
  html { font-size: 9.5pt; }
  body { max-width: none; padding: 0; }
  nav, .skip { display: none; }
  h2, h3, h4, summary { break-after: avoid; }
  tr, .difference, svg g, dd { break-inside: avoid; }
  .chain { grid-template-columns: minmax(0, 8.5cm) minmax(0, 1fr); gap: 1cm; }
  details { border: 0; }
  details::details-content { display: block; content-visibility: visible; block-size: auto; }
  pre { border: 1px solid var(--line); }
}
`;
