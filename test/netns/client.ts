import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";

/**
 * A client in a pod: sends "hello" and writes what comes back, or how the connection ended without it.
 * Usage: node client.ts HOST PORT plain | tls FOLDER | mutual FOLDER
 */
const [host = "", port = "", kind, folder = ""] = process.argv.slice(2);

/** SYN is sent again after a second: whoever does not answer by then drops it. */
const PATIENCE_MS = 4_000;

const read = (name: string): Buffer => readFileSync(join(folder, name));

function connect(): Socket {
  const at = { host, port: Number(port) };
  if (kind === "plain") return connectTcp(at);
  const identity = kind === "mutual" ? { cert: read("certChain.pem"), key: read("key.pem") } : {};
  return connectTls({ ...at, ...identity, ca: read("mesh-ca.pem"), checkServerIdentity: () => undefined });
}

const socket = connect();
let received = "";
let end = "ended";
socket.setTimeout(PATIENCE_MS, () => socket.destroy(Object.assign(new Error(), { code: "silence" })));
socket.on("data", (chunk) => {
  received += String(chunk);
  if (received === "hello") socket.end();
});
socket.on("error", (error: NodeJS.ErrnoException) => (end = error.code ?? error.message));
socket.on("close", () => process.stdout.write(received === "" ? end : received));
socket.write("hello");
