import { setTimeout as delay } from "node:timers/promises";
import { EXIT } from "../../runtime/exit.ts";
import { type Running, runProgram } from "../../runtime/program.ts";
import { Condition } from "./condition.ts";
import { hostPort, milliseconds, required, text } from "./configuration.ts";
import { Voter } from "./voter.ts";

const variables = {
  WEB_HOST: hostPort("the web server"),
  WEB_CA: text("the file with the CA of the web server's certificate (default: no TLS)"),
  WEB_NAME: text("the name in that certificate (default: the host of WEB_HOST)"),
  VOTE_INTERVAL_MS: milliseconds(1000, "time from one vote to the next"),
} as const;

await runProgram(
  { name: "vote-bot", summary: "votes for emoji, on and on", variables, constraints: required("WEB_HOST"), run },
  process,
);

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const { WEB_HOST, WEB_CA, WEB_NAME, VOTE_INTERVAL_MS } = configuration;
  const host = WEB_HOST.slice(0, WEB_HOST.lastIndexOf(":"));
  const tls = WEB_CA === "" ? undefined : { caFile: WEB_CA, name: WEB_NAME === "" ? host : WEB_NAME };
  const voter = new Voter(WEB_HOST, { random: Math.random, condition: new Condition("voting", log), tls });
  log.info({ web: WEB_HOST, interval: VOTE_INTERVAL_MS }, "ready");
  while (!stop.aborted) {
    await voter.vote(stop);
    await delay(VOTE_INTERVAL_MS, undefined, { signal: stop }).catch(() => undefined);
  }
  return EXIT.done;
}
