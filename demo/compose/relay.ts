import { connect, type Server, type Socket } from "node:net";

/**
 * Runs in the network of an engine. It gets listening sockets of another network from its parent, and leads whoever
 * connects there to the same port of the loopback address here. It ends with its parent.
 */
process.on("message", (port: number, server: Server) => {
  server.on("connection", (near: Socket) => {
    const far = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    near.on("error", () => far.destroy());
    far.on("error", () => near.destroy());
    near.pipe(far).pipe(near);
  });
});
process.on("disconnect", () => process.exit());
