import { Client, credentials, status } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { callUnary } from "../../api/grpc.ts";
import { EmojiService, VotingService } from "../proto/emojivoto_pb.ts";
import { EMOJI } from "./emoji-list.ts";
import { createEmojiService } from "./emoji-service.ts";
import { listenGrpc, listenHttp } from "./listener.ts";
import { createMetrics } from "./metrics.ts";
import { createVotingService } from "./voting-service.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of cleanup.splice(0).toReversed()) await close();
});

async function connect({ server }: ReturnType<typeof createEmojiService>): Promise<Client> {
  const listener = await listenGrpc(server, "127.0.0.1", 0);
  const client = new Client(`127.0.0.1:${listener.port}`, credentials.createInsecure());
  cleanup.push(
    () => listener.close(),
    () => client.close(),
  );
  return client;
}

async function scrape(metrics: () => string): Promise<string> {
  const listener = await listenHttp(createMetrics(metrics), "127.0.0.1", 0);
  cleanup.push(() => listener.close());
  const response = await fetch(`http://127.0.0.1:${listener.port}/metrics`);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return response.text();
}

const deadline = (): Date => new Date(Date.now() + 5000);

test("the emoji service lists all emoji and finds one by its shortcode", async () => {
  const service = createEmojiService();
  const client = await connect(service);
  const { list } = await callUnary(client, EmojiService.method.listAll, {}, deadline());
  expect(list.map(({ shortcode, unicode }) => ({ shortcode, unicode }))).toEqual(EMOJI);

  const find = (shortcode: string) => callUnary(client, EmojiService.method.findByShortcode, { shortcode }, deadline());
  expect((await find(":pizza:")).emoji).toMatchObject({ shortcode: ":pizza:", unicode: "🍕" });
  await expect(find(":nothing:")).rejects.toMatchObject({ code: status.NOT_FOUND });

  expect(await scrape(service.metrics)).toBe(
    "# HELP emojivoto_emoji_requests_total Requests by method.\n" +
      "# TYPE emojivoto_emoji_requests_total counter\n" +
      'emojivoto_emoji_requests_total{method="ListAll"} 1\n' +
      'emojivoto_emoji_requests_total{method="FindByShortcode"} 2\n',
  );
});

test("the voting service counts votes for emoji and for nothing else", async () => {
  const service = createVotingService();
  const client = await connect(service);
  const vote = (shortcode: string) => callUnary(client, VotingService.method.vote, { shortcode }, deadline());
  const results = async () => {
    const answer = await callUnary(client, VotingService.method.results, {}, deadline());
    return answer.results.map(({ shortcode, votes }) => [shortcode, votes]);
  };
  expect(await results()).toEqual([]);
  await Promise.all([vote(":pizza:"), vote(":pizza:"), vote(":taco:")]);
  await expect(vote(":nothing:")).rejects.toMatchObject({ code: status.NOT_FOUND });
  expect(new Map((await results()) as [string, number][])).toEqual(
    new Map([
      [":pizza:", 2],
      [":taco:", 1],
    ]),
  );
  expect(await scrape(service.metrics)).toContain('emojivoto_votes_total{emoji=":pizza:"} 2\n');
});
