import { expect, test } from "vitest";
import { ending, refusals } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";
import { ping } from "./traffic.ts";

const SUBNET = "127.83.6";

test("a reset by the application is a reset for the client, and no other connection notices", async () => {
  const { connect, ingress, egress } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => {
      socket.on("data", (chunk) => (String(chunk) === "die" ? socket.resetAndDestroy() : socket.write(chunk)));
    },
  });
  const other = connect();
  await ping(other);
  const socket = connect();
  await ping(socket);
  socket.write("die");
  expect(await ending(socket)).toBe("ECONNRESET");
  await ping(other);
  const codes = [...refusals(ingress.lines), ...refusals(egress.lines)].map(({ code }) => code);
  expect(codes).toEqual(["connection_broken", "connection_broken"]);
});

test("a reset by the client is a reset for the application", async () => {
  const end = Promise.withResolvers<string>();
  const { connect } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => {
      socket.on("data", (chunk) => socket.write(chunk));
      void ending(socket).then(end.resolve);
    },
  });
  const socket = connect();
  await ping(socket);
  socket.resetAndDestroy();
  expect(await end.promise).toBe("ECONNRESET");
});
