import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { get } from "../browser.ts";
import { votes } from "../outcomes.ts";
import { must, type Report } from "../report.ts";
import type { Compose } from "./engine.ts";

export interface Deployment {
  readonly compose: Compose;
  readonly workspace: string;
  readonly webPort: number;
  /** Runs the CLI. */
  readonly contrast: (command: string, ...args: string[]) => Promise<void>;
}

const PATIENCE_MS = 2_500;

/** How a port answers somebody who only wants a connection. */
async function knock(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    let answer = "open";
    const socket = connect({ host, port, timeout: PATIENCE_MS }, () => socket.destroy());
    socket.on("timeout", () => {
      answer = "silence";
      socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => (answer = error.code ?? error.message));
    socket.on("close", () => resolve(answer));
  });
}

/** What a running deployment has to keep. */
export async function check({ compose, workspace, webPort, contrast }: Deployment, report: Report): Promise<void> {
  const outsider = { ca: await readFile(join(workspace, "verify", "mesh-ca.pem"), "utf8") };
  const web = { address: "127.0.0.1", port: webPort, name: "web" };
  await report.outcome("a browser that trusts mesh-ca.pem alone votes", () => votes(outsider, web));
  const emoji = await compose.address("emoji-pod");
  const refuses = async (port: number, want: string): Promise<string> => {
    const answer = await get(outsider, { address: emoji, port, name: "emoji", path: "/" }).then(
      ({ status }) => `HTTP status ${status}`,
      (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error),
    );
    must(answer === want, `it answered ${answer}`);
    return answer;
  };
  for (const port of [8080, 8801, 9999]) {
    await report.outcome(`without a client certificate nobody gets to port ${port} of a pod`, () =>
      refuses(port, "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    );
  }
  await report.outcome("the ports of a mesh proxy itself refuse who was not redirected", () =>
    refuses(15007, "ECONNRESET"),
  );
  await report.outcome("a killed mesh proxy leaves no way to its application", async () => {
    await compose.kill("emoji-mesh-proxy");
    const answers = await Promise.all([8080, 8801, 9101].map((port) => knock(emoji, port)));
    await compose.up(new AbortController().signal, "emoji-mesh-proxy");
    must(answers.join() === "silence,silence,ECONNREFUSED", `8080, 8801 and the admin port: ${answers.join()}`);
    return "its ports are silent, and the admin port is nobody's";
  });
  await report.outcome("a restarted Coordinator is recovered by its seed share owner", async () => {
    await compose.restart("coordinator");
    await contrast("recover");
    await contrast("verify");
    return "verify says so";
  });
  await report.outcome("the mesh goes on as before", () => votes(outsider, web));
}
