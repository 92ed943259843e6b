import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { startThroughMesh } from "./through-mesh.ts";

/** RFC 6455 §1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A server of WebSockets that greets, and sends back every message of less than 126 bytes. */
function webSocketServer(): (socket: Socket) => void {
  const server = createServer();
  server.on("upgrade", (request, socket: Socket) => {
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${GUID}`).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    const send = (text: string): void =>
      void socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
    send("welcome");
    socket.on("data", (frame: Buffer) => {
      // FIN and opcode; length; mask; what is masked with it.
      if ((frame[0] ?? 0) !== 0x81) return void socket.end();
      const mask = frame.subarray(2, 6);
      send(String(frame.subarray(6).map((byte, index) => byte ^ (mask[index % 4] ?? 0))));
    });
  });
  return (socket) => void server.emit("connection", socket);
}

test("a WebSocket is upgraded, greeted by the server first, and carries messages both ways", async () => {
  const { port } = await startThroughMesh({ subnet: "127.77.9", application: webSocketServer() });
  const socket = new WebSocket(`ws://127.77.9.1:${port}/`);
  const messages: unknown[] = [];
  socket.addEventListener("message", ({ data }) => messages.push(data));
  await once(socket, "open");
  await expect.poll(() => messages).toEqual(["welcome"]);
  for (const text of ["one", "two"]) {
    socket.send(text);
    await expect.poll(() => messages.at(-1)).toBe(text);
  }
  socket.close();
  await once(socket, "close");
});
