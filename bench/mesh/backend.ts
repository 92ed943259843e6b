import { createServer, type Socket } from "node:net";

/**
 * The application behind the proxies, a process of its own: `node bench/mesh/backend.ts HOST PORT`. The first byte of a
 * connection says what it does: U<bytes>\n takes as many bytes, D<bytes>\n sends as many, E
 * echoes, and G, of GET, is HTTP.
 */

const BLOCK = Buffer.alloc(256 * 1024, "x");
const RESPONSE = Buffer.from("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!");

const SERVICES: Readonly<Record<string, (socket: Socket, first: Buffer) => void>> = {
  U(socket, first) {
    const header = first.indexOf("\n");
    let left = Number(first.toString("latin1", 1, header));
    const take = ({ length }: Buffer): void => {
      left -= length;
      // Not at the end of the direction: nginx has no half-closed connections.
      if (left === 0) socket.end("done");
    };
    take(first.subarray(header + 1));
    socket.on("data", take);
  },
  D(socket, first) {
    let left = Number(first.toString("latin1", 1, first.indexOf("\n")));
    const send = (): void => {
      while (left > 0) {
        const block = BLOCK.subarray(0, left);
        left -= block.length;
        if (!socket.write(block)) {
          socket.once("drain", send);
          return;
        }
      }
      socket.end();
    };
    send();
  },
  E(socket, first) {
    socket.write(first);
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end());
  },
  G(socket, first) {
    const answer = (chunk: Buffer): void => {
      // Requests are small, and each comes in one piece.
      for (let at = chunk.indexOf("\r\n\r\n"); at !== -1; at = chunk.indexOf("\r\n\r\n", at + 4))
        socket.write(RESPONSE);
    };
    answer(first);
    socket.on("data", answer);
    socket.on("end", () => socket.end());
  },
};

const [, , host = "", port = ""] = process.argv;
const server = createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: 1024 * 1024 }, (socket) => {
  socket.on("error", () => {});
  socket.once("data", (first: Buffer) => SERVICES[String.fromCodePoint(first[0] ?? 0)]?.(socket, first));
});
server.listen({ host, port: Number(port), backlog: 4096 });
