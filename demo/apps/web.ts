import { once } from "node:events";
import { EXIT } from "../../runtime/exit.ts";
import { type Running, runProgram } from "../../runtime/program.ts";
import { Backend } from "./backend.ts";
import { hostPort, listenAddress, port, required } from "./configuration.ts";
import { listenHttp } from "./listener.ts";
import { createWeb } from "./web-server.ts";

const variables = {
  WEB_PORT: port(8080, "the port of the page"),
  LISTEN_ADDRESS: listenAddress,
  EMOJISVC_HOST: hostPort("the emoji service"),
  VOTINGSVC_HOST: hostPort("the voting service"),
} as const;

await runProgram(
  {
    name: "web",
    summary: "serves the page and takes the votes",
    variables,
    constraints: required("EMOJISVC_HOST", "VOTINGSVC_HOST"),
    run,
  },
  process,
);

async function run({ configuration, log, stop }: Running<typeof variables>): Promise<number> {
  const { LISTEN_ADDRESS, WEB_PORT, EMOJISVC_HOST, VOTINGSVC_HOST } = configuration;
  const options = { now: () => new Date(), log };
  const backends = {
    emoji: new Backend("emoji", EMOJISVC_HOST, options),
    voting: new Backend("voting", VOTINGSVC_HOST, options),
  };
  const listener = await listenHttp(createWeb(backends, log), LISTEN_ADDRESS, WEB_PORT);
  log.info({ address: LISTEN_ADDRESS, port: WEB_PORT, emoji: EMOJISVC_HOST, voting: VOTINGSVC_HOST }, "ready");
  if (!stop.aborted) await once(stop, "abort");
  await listener.close();
  backends.emoji.close();
  backends.voting.close();
  return EXIT.done;
}
