import { createServer } from "node:net";

/**
 * An application in a pod: sends back what it gets. Logs that it listens, and each client.
 * Usage: node application.ts HOST PORT
 */
const log = (line: object): unknown => process.stderr.write(`${JSON.stringify(line)}\n`);
const [host, port] = process.argv.slice(2);
const server = createServer({ allowHalfOpen: true }, (socket) => {
  log({ msg: "client", address: socket.remoteAddress });
  socket.on("error", () => {});
  socket.pipe(socket);
});
server.listen(Number(port), host, () => log({ msg: "listening" }));
