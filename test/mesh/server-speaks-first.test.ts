import { expect, test } from "vitest";
import { readAll } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

test("a server that speaks first is heard by a client that says nothing", async () => {
  const { connect } = await startThroughMesh({
    subnet: "127.83.4",
    application: (socket) => void socket.end("220 ready"),
  });
  expect(String(await readAll(connect()))).toBe("220 ready");
});
