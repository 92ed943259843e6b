import { createServer, type Server as TcpServer, type Socket } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogger } from "../../runtime/log.ts";
import { Backend } from "./backend.ts";
import { EMOJI } from "./emoji-list.ts";
import { createEmojiService } from "./emoji-service.ts";
import { type Listener, listenGrpc, listenHttp } from "./listener.ts";
import { CONTENT_SECURITY_POLICY, PAGE } from "./page.ts";
import { createVotingService } from "./voting-service.ts";
import { createWeb } from "./web-server.ts";

const log = createLogger({ program: "web", level: "error", format: "json", isTerminal: false, colour: false });

let emojiService: ReturnType<typeof createEmojiService>;
let votingService: ReturnType<typeof createVotingService>;
let emoji: Listener;
let voting: Listener;
let origin: string;
const cleanup: (() => unknown)[] = [];

beforeEach(async () => {
  emojiService = createEmojiService();
  votingService = createVotingService();
  emoji = await listenGrpc(emojiService.server, "127.0.0.1", 0);
  voting = await listenGrpc(votingService.server, "127.0.0.1", 0);
  origin = await startWeb(voting.port, () => new Date());
  cleanup.push(
    () => emoji.close(),
    () => voting.close(),
  );
});

afterEach(async () => {
  for (const close of cleanup.splice(0)) await close();
});

async function startWeb(votingPort: number, now: () => Date): Promise<string> {
  const backends = {
    emoji: new Backend("emoji", `127.0.0.1:${emoji.port}`, { now, log }),
    voting: new Backend("voting", `127.0.0.1:${votingPort}`, { now, log }),
  };
  const web = await listenHttp(createWeb(backends, log), "127.0.0.1", 0);
  cleanup.push(
    () => web.close(),
    () => backends.emoji.close(),
    () => backends.voting.close(),
  );
  return `http://127.0.0.1:${web.port}`;
}

async function ask(path: string, method = "GET"): Promise<{ status: number; body: unknown }> {
  const response = await fetch(origin + path, { method });
  return { status: response.status, body: await response.json() };
}

test("a vote passes through both services and stands on the leaderboard", async () => {
  expect(await ask("/api/leaderboard")).toEqual({ status: 200, body: [] });
  expect(await ask("/api/vote?choice=:doughnut:", "POST")).toEqual({
    status: 200,
    body: { shortcode: ":doughnut:", unicode: "🍩" },
  });
  expect((await ask("/api/vote?choice=%3Ataco%3A")).status).toBe(200);
  expect((await ask("/api/vote?choice=:pizza:")).status).toBe(200);
  expect((await ask("/api/vote?choice=:pizza:")).status).toBe(200);
  expect(await ask("/api/leaderboard")).toEqual({
    status: 200,
    body: [
      { shortcode: ":pizza:", unicode: "🍕", votes: 2 },
      { shortcode: ":doughnut:", unicode: "🍩", votes: 1 },
      { shortcode: ":taco:", unicode: "🌮", votes: 1 },
    ],
  });
  expect(emojiService.metrics()).toContain('{method="FindByShortcode"} 4\n');
  expect(votingService.metrics()).toContain('{emoji=":pizza:"} 2\n');
});

test("the list has every emoji", async () => {
  expect(await ask("/api/list")).toEqual({ status: 200, body: EMOJI });
});

test("an unknown emoji is a bad request and is not counted", async () => {
  for (const path of ["/api/vote?choice=:nothing:", "/api/vote?choice=", "/api/vote"]) {
    expect(await ask(path, "POST")).toMatchObject({ status: 400, body: { error: "unknown_emoji" } });
  }
  expect(await ask("/api/leaderboard")).toMatchObject({ body: [] });
});

test("a request that is not for us is refused with the right status", async () => {
  expect(await ask("/api/nothing")).toMatchObject({ status: 404, body: { error: "not_found" } });
  expect(await ask("/api/list", "POST")).toMatchObject({ status: 405, body: { error: "method_not_allowed" } });
  expect(await ask("/api/vote?choice=:taco:", "DELETE")).toMatchObject({ status: 405 });
  expect((await fetch(`${origin}/api/vote?choice=:taco:`, { method: "HEAD" })).status).toBe(405);
  expect(await ask("/api/leaderboard")).toMatchObject({ body: [] });
});

test("with a backend down it answers 502, and works again when the backend is back", async () => {
  const { port } = voting;
  await voting.close();
  expect(await ask("/api/vote?choice=:taco:")).toEqual({
    status: 502,
    body: { error: "backend_unavailable", message: "The voting service does not answer." },
  });
  expect((await ask("/api/leaderboard")).status).toBe(502);
  expect((await ask("/api/list")).status).toBe(200);

  voting = await listenGrpc(createVotingService().server, "127.0.0.1", port);
  await expect.poll(async () => (await ask("/api/vote?choice=:taco:")).status, { timeout: 10_000 }).toBe(200);
  expect(await ask("/api/leaderboard")).toMatchObject({ body: [{ shortcode: ":taco:", votes: 1 }] });
});

test("a backend that accepts and says nothing is given up at the deadline", async () => {
  const silent = await startSilent();
  // A clock that is 1.9 of the 2 seconds behind.
  origin = await startWeb(silent, () => new Date(Date.now() - 1900));
  expect(await ask("/api/leaderboard")).toMatchObject({ status: 502, body: { error: "backend_unavailable" } });
});

async function startSilent(): Promise<number> {
  const sockets = new Set<Socket>();
  const server: TcpServer = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return address === null || typeof address === "string" ? 0 : address.port;
}

test("the page comes with its policy, whether the backends are up or not", async () => {
  await emoji.close();
  await voting.close();
  const response = await fetch(`${origin}/`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(response.headers.get("content-security-policy")).toBe(CONTENT_SECURITY_POLICY);
  expect(await response.text()).toBe(PAGE);
});
