import { createSocket } from "node:dgram";

/**
 * An application in a pod that takes datagrams: sends back what it gets. Logs that it listens, and each client.
 * Usage: node udp-application.ts HOST PORT
 */
const log = (line: object): unknown => process.stderr.write(`${JSON.stringify(line)}\n`);
const [host = "", port] = process.argv.slice(2);
const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
socket.on("message", (message, { address, port: from }) => {
  log({ msg: "client", address });
  socket.send(message, from, address);
});
socket.bind(Number(port), host, () => log({ msg: "listening" }));
