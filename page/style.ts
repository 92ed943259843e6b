/** What the page has beside a report (report/style.ts): a form. */
export const PAGE_STYLE = `
header p { font-size: 1.05rem; }
[hidden] { display: none !important; }
.verdict.refused { border-color: var(--bad); background: var(--bad-page); color: var(--bad); font-weight: 600; }
form { margin: 1.5rem 0; }
fieldset { margin: 0 0 1.25rem; padding: 0.75rem 1.1rem 1rem; border: 1px solid var(--line); border-radius: 6px; min-width: 0; }
legend { padding: 0 0.4rem; font-weight: 600; }
label { display: block; margin: 0.5rem 0 0.3rem; }
form .quiet, form .about { margin: 0.35rem 0 0; font-size: 0.92rem; }
form .about:empty { display: none; }
input[type="text"], input[type="file"] {
  width: 100%; padding: 0.55rem 0.7rem; border: 1px solid var(--quiet); border-radius: 5px; background: var(--page);
  color: var(--text); font: inherit;
}
input[type="file"] { padding: 0.4rem; border-style: dashed; }
input::placeholder { color: var(--quiet); opacity: 1; }
input::file-selector-button, button {
  padding: 0.5rem 1.1rem; border: 1px solid var(--quiet); border-radius: 5px; background: var(--panel); color: var(--text);
  font: inherit; cursor: pointer;
}
input::file-selector-button { margin-right: 0.8rem; padding: 0.3rem 0.8rem; }
button[type="submit"] { border-color: var(--link); background: var(--link); color: var(--page); font-weight: 600; }
button[aria-disabled="true"] { border-color: var(--line); background: var(--panel); color: var(--quiet); cursor: default; }
input[aria-invalid="true"] { border-color: var(--bad); border-width: 2px; }
.choice { display: grid; grid-template-columns: 1.5rem minmax(0, 1fr); align-items: baseline; margin: 0.4rem 0; }
.choice input { width: 1.05rem; height: 1.05rem; margin: 0; align-self: center; accent-color: var(--link); }
.choice label { margin: 0.2rem 0; }
.choice p { grid-column: 2; }
.choice-body { margin: 0 0 0.8rem 1.5rem; }
.danger { margin: 1.25rem 0; padding: 0.6rem 0.9rem; border-left: 4px solid var(--warn); background: var(--warn-page); }
.danger label { color: var(--warn); font-weight: 600; }
.danger .quiet { color: var(--text); }
.actions { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1rem 0; }
#keep:empty, #kept:empty { display: none; }
#progress { min-height: 1.55rem; margin: 0.5rem 0; }
#problem { margin: 0.5rem 0; max-width: none; border-color: var(--bad); background: var(--bad-page); color: var(--bad); }
.dropping .drop { border: 2px dashed var(--link); background: var(--panel); }
#result > h2 { border-top: 0; margin-top: 1rem; padding-top: 0; font-size: 1.4rem; }
#result > h2:focus-visible { outline-offset: 6px; }
footer { margin-top: 3rem; color: var(--quiet); font-size: 0.95rem; }
footer h2 { color: var(--text); font-size: 1.1rem; }
footer li { margin-bottom: 0.5rem; max-width: 46rem; }
@media print { form, .actions, footer { display: none; } }
`;
