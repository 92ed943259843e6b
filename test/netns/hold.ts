import { connect } from "node:net";

/**
 * A client in a pod that keeps a connection: sends something every 100 ms, and logs each answer.
 * Usage: node hold.ts HOST PORT
 */
const [host = "", port] = process.argv.slice(2);
const socket = connect({ host, port: Number(port) });
socket.on("data", () => process.stderr.write(`${JSON.stringify({ msg: "answered" })}\n`));
socket.on("error", () => {});
setInterval(() => socket.write("hello"), 100).unref();
