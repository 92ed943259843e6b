import { createSocket } from "node:dgram";
import { connect } from "node:net";

/**
 * A client in a pod that tries everything at once: sends "hello" to each place and writes what comes back, or "silence".
 * Usage: node reach.ts tcp:HOST:PORT[@LOCAL_PORT] udp:HOST:PORT ...
 */

/** SYN is sent again after a second: whoever does not answer by then drops it. */
const PATIENCE_MS = 2_500;

async function overTcp(host: string, port: number, localPort: number): Promise<string> {
  return new Promise((resolve) => {
    let result = "silence";
    const socket = connect({ host, port, localPort });
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on("data", (chunk) => {
      result = String(chunk);
      socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => (result = error.code ?? error.message));
    socket.on("close", () => resolve(result));
    socket.write("hello");
  });
}

async function overUdp(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const end = (result: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(() => end("silence"), PATIENCE_MS);
    socket.on("message", (message) => end(String(message)));
    socket.on("error", () => {});
    socket.send("hello", port, host);
  });
}

const places = process.argv.slice(2);
const results = places.map(async (place) => {
  const [, protocol, host = "", port, from = "0"] = /^(tcp|udp):(.*):(\d+)(?:@(\d+))?$/.exec(place) ?? [];
  return [place, await (protocol === "udp" ? overUdp : overTcp)(host, Number(port), Number(from))] as const;
});
process.stdout.write(JSON.stringify(Object.fromEntries(await Promise.all(results))));
