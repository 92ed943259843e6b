import { connect } from "node:net";

/** Keeps a connection to a server of HTTP, and asks again when it is told to (SIGUSR2). Usage: node kept-connection.ts HOST:PORT */
const [address = ""] = process.argv.slice(2);
const { hostname, port } = new URL(`http://${address}`);
const log = (line: object): unknown => process.stderr.write(`${JSON.stringify(line)}\n`);
const PATIENCE_MS = 2_500;
const socket = connect(Number(port), hostname);
const ask = (): boolean => socket.write(`GET /aa/evidence HTTP/1.1\r\nhost: ${address}\r\n\r\n`);
socket.on("error", () => {});
socket.once("data", () => log({ msg: "answered" }));
ask();
process.once("SIGUSR2", () => {
  const timer = setTimeout(() => log({ msg: "again", result: "silence" }), PATIENCE_MS);
  socket.once("data", () => {
    clearTimeout(timer);
    log({ msg: "again", result: "answered" });
  });
  ask();
});
