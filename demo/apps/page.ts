import { createHash } from "node:crypto";
import { SCRIPT } from "./page-script.ts";
import { STYLE } from "./page-style.ts";

/** The page, one document that refers to nothing outside itself but the server's own `/api/`. */

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><text y=".9em" font-size="90">🍩</text></svg>`;

export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Vote for your favourite emoji.">
<title>Emojivoto</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(ICON)}">
<style>${STYLE}</style>
</head>
<body>
<header>
  <h1>Emojivoto</h1>
  <p>Pick your favourite. Vote as often as you like.</p>
  <nav aria-label="Views">
    <a href="#/vote">Vote</a>
    <a href="#/leaderboard">Leaderboard</a>
  </nav>
</header>
<main>
  <section id="vote" aria-labelledby="vote-heading">
    <h2 id="vote-heading">Vote</h2>
    <p id="loading" class="note">Loading…</p>
    <ul id="grid"></ul>
  </section>
  <section id="leaderboard" aria-labelledby="leaderboard-heading">
    <h2 id="leaderboard-heading">Leaderboard</h2>
    <p id="total" class="note">No votes yet.</p>
    <ol id="standings"></ol>
  </section>
</main>
<div id="feedback" class="idle" role="status"></div>
<noscript><p class="note">Voting on this page needs JavaScript.</p></noscript>
<script type="module">${SCRIPT}</script>
</body>
</html>
`;

/** Only the style and the script above run, whatever else may get into the page. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  `script-src ${hashOf(SCRIPT)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
