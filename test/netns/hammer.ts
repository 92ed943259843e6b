import { connect } from "node:net";

/**
 * A client in a pod that never gives up: connects again and again, in plain text, until SIGTERM. Writes how often it tried, and how often something came back.
 * Usage: node hammer.ts HOST PORT
 */
const PATIENCE_MS = 150;
const AT_ONCE = 4;

const [host = "", port] = process.argv.slice(2);
const stop = new AbortController();
let tries = 0;
let answers = 0;

process.once("SIGTERM", () => stop.abort());
process.stderr.write(`${JSON.stringify({ msg: "begins" })}\n`);

function attempt(): Promise<void> {
  return new Promise((resolve) => {
    tries++;
    const socket = connect({ host, port: Number(port) });
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on("data", () => {
      answers++;
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.write("hello");
  });
}

async function hammer(): Promise<void> {
  while (!stop.signal.aborted) await attempt();
}

await Promise.all(Array.from({ length: AT_ONCE }, hammer));
process.stdout.write(JSON.stringify({ tries, answers }));
