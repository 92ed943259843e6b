/** The style of the page: light or dark as the reader's system is, one column on a phone and two on a desk. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f5f9, #16141c);
  --card: light-dark(#ffffff, #221f2b);
  --line: light-dark(#e2dfea, #383343);
  --text: light-dark(#211c2c, #f0edf6);
  --soft: light-dark(#5f586e, #aaa2bb);
  --accent: light-dark(#6d28d9, #c4a5ff);
  --on-accent: light-dark(#ffffff, #1d1033);
  --bad: light-dark(#b3261e, #ffb4ab);
  --on-bad: light-dark(#ffffff, #45090a);
  font-family: system-ui, sans-serif;
  line-height: 1.4;
}
* { box-sizing: border-box; margin: 0; padding: 0; }
body { background: var(--page); color: var(--text); padding: 1.5rem 1rem 6rem; }
header, main, noscript { display: block; max-width: 76rem; margin: 0 auto; }
h1 { font-size: clamp(1.9rem, 6vw, 2.6rem); letter-spacing: -0.03em; line-height: 1.1; margin-bottom: 0.3rem; }
h2 { font-size: 1.1rem; }
header p, .note { color: var(--soft); }
.note { font-size: 0.9rem; }
ul, ol { list-style: none; }

nav { display: flex; gap: 0.25rem; margin-top: 1rem; padding: 0.25rem; border: 1px solid var(--line); border-radius: 0.9rem; background: var(--card); }
nav a { flex: 1; padding: 0.55rem; border-radius: 0.7rem; text-align: center; text-decoration: none; font-weight: 600; color: var(--soft); }
nav a[aria-current] { background: var(--accent); color: var(--on-accent); }

main { margin-top: 1.25rem; }
section[data-away] { display: none; }
section > h2, section > .note { margin-bottom: 0.6rem; }

#grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(3.6rem, 1fr)); gap: 0.5rem; }
#grid button {
  width: 100%; aspect-ratio: 1; font-size: 1.9rem; line-height: 1; cursor: pointer; touch-action: manipulation;
  color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
  transition: transform 0.12s, border-color 0.12s;
}
#grid button, #standings .emoji, #feedback .emoji { font-family: "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji", sans-serif; }
#grid button:hover { border-color: var(--accent); transform: scale(1.06); }
#grid button:active { transform: scale(0.94); }
#grid button.voted { animation: voted 0.45s; border-color: var(--accent); }
@keyframes voted { 40% { transform: scale(1.3) rotate(8deg); } }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }

#standings li {
  display: grid; grid-template-columns: 2rem 2.2rem 1fr auto; align-items: center; gap: 0.15rem 0.5rem;
  padding: 0.55rem 0.9rem 0.55rem 0.4rem; background: var(--card); border: 1px solid var(--line); border-bottom-width: 0;
}
#standings li:first-child { border-radius: 1rem 1rem 0 0; }
#standings li:last-child { border-bottom-width: 1px; border-radius: 0 0 1rem 1rem; }
#standings li:only-child { border-radius: 1rem; }
#standings .rank { text-align: right; color: var(--soft); font-variant-numeric: tabular-nums; }
#standings .emoji { font-size: 1.5rem; text-align: center; }
#standings .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#standings .votes { font-weight: 650; font-variant-numeric: tabular-nums; }
#standings .bar { grid-column: 3 / -1; height: 0.3rem; border-radius: 1rem; background: var(--line); overflow: hidden; }
#standings .bar span { display: block; height: 100%; border-radius: 1rem; background: var(--accent); transition: width 0.4s; }

#feedback {
  position: fixed; inset: auto 1rem 1.25rem; width: fit-content; max-width: calc(100% - 2rem); margin: 0 auto;
  padding: 0.7rem 1.1rem; border-radius: 2rem; font-weight: 600; background: var(--accent); color: var(--on-accent);
  box-shadow: 0 0.4rem 1.4rem rgb(0 0 0 / 0.3); transition: opacity 0.2s, transform 0.2s;
}
#feedback.bad { background: var(--bad); color: var(--on-bad); }
#feedback.idle { opacity: 0; transform: translateY(1rem); pointer-events: none; }

@media (min-width: 56rem) {
  nav { display: none; }
  main { display: grid; grid-template-columns: 1fr 22rem; gap: 2rem; align-items: start; }
  section[data-away] { display: block; }
}
@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; animation: none !important; }
}
`;
