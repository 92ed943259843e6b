/** What the page does in the browser. All text from the server enters the document as text, never as markup. */
export const SCRIPT = `
const REFRESH_MS = 2000;
const FEEDBACK_MS = 2500;
const byId = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nameOf = (shortcode) => shortcode.replaceAll(":", "").replaceAll("_", " ");

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

async function ask(path, method = "GET") {
  const response = await fetch(path, { method }).catch(() => undefined);
  if (response === undefined) throw new Error("The server does not answer.");
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.message ?? "The server answered with an error.");
  return body;
}

let hiding;
function tell(bad, ...parts) {
  const feedback = byId("feedback");
  feedback.replaceChildren(...parts);
  feedback.classList.toggle("bad", bad);
  feedback.classList.remove("idle");
  clearTimeout(hiding);
  hiding = setTimeout(() => feedback.classList.add("idle"), FEEDBACK_MS);
}

async function vote({ shortcode, unicode }, button) {
  button.classList.remove("voted");
  try {
    await ask("/api/vote?choice=" + encodeURIComponent(shortcode), "POST");
    button.classList.add("voted");
    tell(false, element("span", "emoji", unicode), " Your vote for " + nameOf(shortcode) + " is counted.");
    await refresh();
  } catch (error) {
    tell(true, "Your vote was not counted. " + error.message);
  }
}

function choice(emoji) {
  const button = element("button", "", emoji.unicode);
  button.type = "button";
  button.title = nameOf(emoji.shortcode);
  button.setAttribute("aria-label", "Vote for " + nameOf(emoji.shortcode));
  button.addEventListener("click", () => vote(emoji, button));
  button.addEventListener("animationend", () => button.classList.remove("voted"));
  const item = element("li", "");
  item.append(button);
  return item;
}

const rows = new Map();
function row(shortcode, unicode) {
  const known = rows.get(shortcode);
  if (known !== undefined) return known;
  const made = { item: element("li", ""), rank: element("span", "rank"), votes: element("span", "votes"), fill: element("span", "") };
  const emoji = element("span", "emoji", unicode);
  const bar = element("span", "bar");
  emoji.ariaHidden = "true";
  bar.ariaHidden = "true";
  bar.append(made.fill);
  made.item.append(made.rank, emoji, element("span", "name", nameOf(shortcode)), made.votes, bar);
  rows.set(shortcode, made);
  return made;
}

async function refresh() {
  let standings;
  try {
    standings = await ask("/api/leaderboard");
  } catch (error) {
    byId("total").textContent = "Not up to date. " + error.message;
    return;
  }
  const sum = standings.reduce((total, { votes }) => total + votes, 0);
  byId("total").textContent = sum === 0 ? "No votes yet." : sum.toLocaleString("en") + (sum === 1 ? " vote" : " votes");
  const items = standings.map(({ shortcode, unicode, votes }, index) => {
    const { item, rank, votes: count, fill } = row(shortcode, unicode);
    rank.textContent = String(index + 1);
    count.textContent = votes.toLocaleString("en");
    fill.style.width = (100 * votes) / standings[0].votes + "%";
    return item;
  });
  byId("standings").replaceChildren(...items);
}

function showView() {
  const view = location.hash === "#/leaderboard" ? "leaderboard" : "vote";
  for (const section of document.querySelectorAll("section")) section.toggleAttribute("data-away", section.id !== view);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === "#/" + view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function loadGrid() {
  for (;;) {
    try {
      const emoji = await ask("/api/list");
      byId("grid").replaceChildren(...emoji.map(choice));
      byId("loading").remove();
      return;
    } catch (error) {
      byId("loading").textContent = error.message + " Trying again…";
      await sleep(REFRESH_MS);
    }
  }
}

addEventListener("hashchange", showView);
showView();
void loadGrid();
for (;;) {
  if (document.visibilityState === "visible") await refresh();
  await sleep(REFRESH_MS);
}
`;
