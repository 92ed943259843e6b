import { connect, type Socket } from "node:net";

/**
 * A client in a pod that connects twice from one port of its own: the second time, with "hello", when the server has ended
 * the first connection. Logs when the first one is open; writes what came back the second time, or "silence". A server
 * that is being killed may take the second connection with it: then the client tries again.
 * Usage: node reconnect.ts HOST PORT LOCAL_PORT
 */
const PATIENCE_MS = 4_000;
const TRIES = 20;

const [host = "", port, localPort] = process.argv.slice(2);
const from = { host, port: Number(port), localPort: Number(localPort) };

const first = connect(from, () => process.stderr.write(`${JSON.stringify({ msg: "open" })}\n`));
first.resume();
first.on("close", () => hello(connect(from), TRIES));

function hello(second: Socket, tries: number): void {
  let received = "silence";
  second.setTimeout(PATIENCE_MS, () => second.destroy());
  second.on("data", (chunk) => {
    received = String(chunk);
    second.destroy();
  });
  second.on("error", (error: NodeJS.ErrnoException) => (received = error.code ?? error.message));
  second.on("close", () => {
    if (received === "ECONNRESET" && tries > 1) setTimeout(() => hello(connect(from), tries - 1), 50);
    else process.stdout.write(received);
  });
  second.write("hello");
}
