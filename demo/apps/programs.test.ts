import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { createMesh, writeTlsConfig } from "../../pki/test-mesh.ts";
import { listenHttp } from "./listener.ts";

type Line = Readonly<Record<string, unknown>>;

interface Started {
  readonly child: ChildProcess;
  readonly lines: readonly Line[];
  /** Resolves with the first line that has this message. */
  readonly says: (message: string) => Promise<Line>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** Starts a program with nothing but these variables in its environment. */
function start(name: string, env: Readonly<Record<string, string>>): Started {
  const child = spawn(process.execPath, [`demo/apps/${name}.ts`], { env, stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  const lines: Line[] = [];
  const news = createInterface({ input: child.stderr });
  const ended = once(news, "close").then(async () => {
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    return child.exitCode;
  });
  news.on("line", (text) => {
    lines.push(text.startsWith("{") ? (JSON.parse(text) as Line) : { msg: text });
  });
  const says = async (message: string): Promise<Line> => {
    for (;;) {
      const line = lines.find(({ msg }) => msg === message);
      if (line !== undefined) return line;
      if (child.exitCode !== null) throw new Error(`${name} ended: ${JSON.stringify(lines)}`);
      await Promise.race([once(news, "line"), ended]);
    }
  };
  return { child, lines, says, ended };
}

test("the four programs start, work together, and end with 0 soon after SIGTERM", async () => {
  const programs = [
    start("emoji", { LISTEN_ADDRESS: "127.84.0.1" }),
    start("voting", { LISTEN_ADDRESS: "127.84.0.2", GRPC_PORT: "9090", PROM_PORT: "9091" }),
    start("web", { LISTEN_ADDRESS: "127.84.0.3", EMOJISVC_HOST: "127.84.0.1:8080", VOTINGSVC_HOST: "127.84.0.2:9090" }),
    start("vote-bot", { WEB_HOST: "127.84.0.3:8080", VOTE_INTERVAL_MS: "20" }),
  ];
  await Promise.all(programs.map(({ says }) => says("ready")));
  const metrics = async (): Promise<string> => (await fetch("http://127.84.0.2:9091/metrics")).text();
  await expect.poll(metrics, { timeout: 10_000 }).toContain("emojivoto_votes_total{");
  expect(await (await fetch("http://127.84.0.1:8801/metrics")).text()).toContain("emojivoto_emoji_requests_total{");

  const before = Date.now();
  for (const { child } of programs) child.kill("SIGTERM");
  expect(await Promise.all(programs.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
  expect(Date.now() - before).toBeLessThan(5000);
});

test("the vote-bot tells of an outage once and of its end once", async () => {
  let requests = 0;
  const web = await listenHttp(
    createServer((_, response) => {
      requests++;
      response.writeHead(requests <= 5 ? 502 : 200).end('[{"shortcode":":taco:"}]');
    }),
    "127.0.0.1",
    0,
  );
  const bot = start("vote-bot", { WEB_HOST: `127.0.0.1:${web.port}`, VOTE_INTERVAL_MS: "10" });
  await bot.says("voting works again");
  expect(bot.lines.map(({ level, msg, reason }) => ({ level, msg, reason }))).toEqual([
    { level: "info", msg: "ready" },
    { level: "warn", msg: "voting fails", reason: "GET /api/list gave HTTP status 502" },
    { level: "info", msg: "voting works again" },
  ]);
  await web.close();
  await bot.says("voting fails");
});

test("a vote-bot with a CA speaks TLS with nobody else than the server of that name", async () => {
  const mesh = await createMesh();
  const folder = await writeTlsConfig(mesh, await mesh.issue({ sans: ["web"] }));
  onTestFinished(async () => rm(folder, { recursive: true }));
  const tls = { cert: await readFile(join(folder, "certChain.pem")), key: await readFile(join(folder, "key.pem")) };
  const server = createTlsServer(tls, (_, response) => response.end('[{"shortcode":":taco:"}]'));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const env = { WEB_HOST: `127.0.0.1:${port}`, WEB_CA: join(folder, "mesh-ca.pem"), VOTE_INTERVAL_MS: "10" };
  const voted = once(server, "request");
  const bot = start("vote-bot", { ...env, WEB_NAME: "web" });
  await voted;
  bot.child.kill("SIGTERM");
  await bot.ended;
  expect(bot.lines.map(({ msg }) => msg)).toEqual(["ready"]);
  const other = start("vote-bot", { ...env, WEB_NAME: "emoji" });
  expect(await other.says("voting fails")).toMatchObject({ reason: expect.stringContaining("emoji") });
  other.child.kill("SIGTERM");
});

test("a vote-bot that waits for an answer ends with 0 on SIGTERM", async () => {
  const silent = createServer(() => undefined);
  const web = await listenHttp(silent, "127.0.0.1", 0);
  const bot = start("vote-bot", { WEB_HOST: `127.0.0.1:${web.port}` });
  await once(silent, "request");
  bot.child.kill("SIGTERM");
  expect(await bot.ended).toBe(0);
  expect(bot.lines.map(({ msg }) => msg)).toEqual(["ready"]);
  await web.close();
});

test.each([
  ["emoji", { GRPC_PORT: "08080" }, "GRPC_PORT"],
  ["voting", { PROM_PORT: "65536" }, "PROM_PORT"],
  ["voting", { LISTEN_ADDRESS: "localhost" }, "LISTEN_ADDRESS"],
  ["web", { EMOJISVC_HOST: "127.0.0.1:1" }, "VOTINGSVC_HOST"],
  ["web", { EMOJISVC_HOST: "emoji-svc", VOTINGSVC_HOST: "127.0.0.1:1" }, "EMOJISVC_HOST"],
  ["vote-bot", {}, "WEB_HOST"],
  ["vote-bot", { WEB_HOST: "http://web:80" }, "WEB_HOST"],
  ["vote-bot", { WEB_HOST: "[::1]:80", VOTE_INTERVAL_MS: "0" }, "VOTE_INTERVAL_MS"],
])("%s refuses %j with exit code 2 and names %s", async (name, env, culprit) => {
  const program = start(name, env);
  expect(await program.ended).toBe(2);
  expect(JSON.stringify(program.lines)).toContain(culprit);
});
