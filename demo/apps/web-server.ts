import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { EmojiService, VotingService } from "../proto/emojivoto_pb.ts";
import type { Backend } from "./backend.ts";
import type { Emoji } from "./emoji-list.ts";
import { CONTENT_SECURITY_POLICY, PAGE } from "./page.ts";
import { HTTP_STATUS, WebError } from "./web-error.ts";

export interface Backends {
  readonly emoji: Backend;
  readonly voting: Backend;
}

interface Standing extends Emoji {
  readonly votes: number;
}

/** The page at `/`, and the JSON that it is fed with under `/api/`. */
export function createWeb(backends: Backends, log: Logger): Server {
  return createServer({ requestTimeout: 10_000, headersTimeout: 5000 }, (request, response) => {
    answer(request, response, backends).catch((error: unknown) => {
      if (!(error instanceof WebError)) log.error(describeError(error));
      refuse(response, error);
    });
  });
}

async function answer(request: IncomingMessage, response: ServerResponse, backends: Backends): Promise<void> {
  const url = URL.parse(request.url ?? "", "http://web");
  if (url === null) throw new WebError("malformed_request", "The URL is malformed.");
  switch (url.pathname) {
    case "/":
      allow(request, response, ["GET", "HEAD"]);
      response
        .writeHead(200, {
          "content-type": "text/html; charset=utf-8",
          "content-security-policy": CONTENT_SECURITY_POLICY,
          "x-content-type-options": "nosniff",
          "referrer-policy": "no-referrer",
          "cache-control": "no-cache",
        })
        .end(PAGE);
      return;
    case "/api/list":
      allow(request, response, ["GET", "HEAD"]);
      sendJson(response, 200, await list(backends));
      return;
    case "/api/vote":
      allow(request, response, ["GET", "POST"]);
      sendJson(response, 200, await vote(backends, url.searchParams.get("choice") ?? ""));
      return;
    case "/api/leaderboard":
      allow(request, response, ["GET", "HEAD"]);
      sendJson(response, 200, await leaderboard(backends));
      return;
    default:
      throw new WebError("not_found", "There is nothing here.");
  }
}

async function list({ emoji }: Backends): Promise<Emoji[]> {
  const response = await emoji.call(EmojiService.method.listAll, {});
  return response.list.map(({ shortcode, unicode }) => ({ shortcode, unicode }));
}

async function vote({ emoji, voting }: Backends, shortcode: string): Promise<Emoji> {
  const found = await emoji.call(EmojiService.method.findByShortcode, { shortcode });
  await voting.call(VotingService.method.vote, { shortcode });
  return { shortcode, unicode: found.emoji?.unicode ?? "" };
}

/** Most votes first, those with as many by their names. */
async function leaderboard(backends: Backends): Promise<Standing[]> {
  const [known, { results }] = await Promise.all([
    list(backends),
    backends.voting.call(VotingService.method.results, {}),
  ]);
  const unicode = new Map(known.map((emoji) => [emoji.shortcode, emoji.unicode]));
  return results
    .map(({ shortcode, votes }) => ({ shortcode, unicode: unicode.get(shortcode) ?? "", votes }))
    .toSorted((a, b) => b.votes - a.votes || (a.shortcode < b.shortcode ? -1 : 1));
}

function allow(request: IncomingMessage, response: ServerResponse, methods: readonly string[]): void {
  if (methods.includes(request.method ?? "")) return;
  response.setHeader("allow", methods.join(", "));
  throw new WebError("method_not_allowed", `Use ${methods.join(" or ")}.`);
}

function refuse(response: ServerResponse, error: unknown): void {
  if (error instanceof WebError) {
    sendJson(response, HTTP_STATUS[error.code], { error: error.code, message: error.message });
  } else {
    sendJson(response, 500, { error: "internal", message: "Something went wrong." });
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response
    .writeHead(status, {
      "content-type": "application/json; charset=utf-8",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    })
    .end(JSON.stringify(body));
}
