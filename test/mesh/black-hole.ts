import { connect, type Socket } from "node:net";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";

/**
 * A peer that never answers: a listener whose queue is full and stays so. The kernel drops what comes to it, as a network
 * does that has lost a host. Python, because Node takes connections out of the queue.
 */
const LISTENER = `
import socket, sys
server = socket.socket()
server.bind((sys.argv[1], 0))
server.listen(0)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
`;

/** @returns the port */
export async function blackHole(host: string): Promise<number> {
  const child = spawn("python3", ["-c", LISTENER, host], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const port = Number(line);
  const queued: Socket[] = [];
  onTestFinished(async () => {
    for (const socket of queued) socket.destroy();
    child.stdin.end();
    await once(child, "close");
  });
  // The queue takes one connection more than its length.
  const socket = connect(port, host).on("error", () => {});
  queued.push(socket);
  await once(socket, "connect");
  return port;
}
