import { readFileSync } from "node:fs";
import { connect } from "node:tls";

/**
 * A client that makes so many new connections per second to a server of HTTPS, each for one request, until SIGTERM. Writes
 * how many it made, and how those ended that got no answer.
 * Usage: node visitor.ts ADDRESS PORT NAME CA_FILE PER_SECOND [PATH...]
 */
const [host = "", port = "", servername = "", caFile = "", rate = "", ...paths] = process.argv.slice(2);
const ca = readFileSync(caFile);
const failures: string[] = [];
let made = 0;
let open = 0;

function visit(): void {
  const path = paths[made % paths.length] ?? "/";
  made++;
  open++;
  let answer = "";
  const began = Date.now();
  const socket = connect({ host, port: Number(port), servername, ca });
  socket.setTimeout(10_000, () => socket.destroy(new Error("silence")));
  socket.on("secureConnect", () =>
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`),
  );
  socket.on("data", (chunk: Buffer) => (answer += String(chunk)));
  socket.on(
    "error",
    (error: NodeJS.ErrnoException) => (answer = `${error.code ?? error.message} after ${Date.now() - began} ms`),
  );
  socket.on("close", () => {
    open--;
    if (!answer.startsWith("HTTP/1.1 200")) failures.push(answer.slice(0, 200));
  });
}

const timer = setInterval(visit, 1000 / Number(rate));
process.once("SIGTERM", () => {
  clearInterval(timer);
  setInterval(() => {
    if (open > 0) return;
    process.stdout.write(JSON.stringify({ made, failures }));
    process.exit(0);
  }, 50);
});
process.stderr.write("begins\n");
