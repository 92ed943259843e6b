import { readFileSync } from "node:fs";
import { connect } from "node:tls";

/**
 * Opens connections to a server of TLS and says nothing on them, until SIGTERM. Logs how many were accepted.
 * Usage: node idler.ts ADDRESS PORT NAME CA_FILE COUNT SOURCE...
 */
const [host = "", port = "", servername = "", caFile = "", count = "", ...sources] = process.argv.slice(2);
const ca = readFileSync(caFile);
const AT_ONCE = 16;
let next = 0;
let open = 0;
let ended = 0;

async function openAll(): Promise<void> {
  while (next < Number(count)) {
    const localAddress = sources[next++ % sources.length];
    await new Promise<void>((resolve) => {
      const socket = connect({ host, port: Number(port), servername, ca, ...(localAddress && { localAddress }) });
      socket.once("secureConnect", () => {
        open++;
        resolve();
      });
      socket.on("error", () => {});
      socket.once("close", () => {
        ended++;
        resolve();
      });
    });
  }
}

process.once("SIGTERM", () => process.exit(0));
await Promise.all(Array.from({ length: AT_ONCE }, openAll));
process.stdout.write(JSON.stringify({ open, ended }));
setInterval(() => {}, 2 ** 30);
