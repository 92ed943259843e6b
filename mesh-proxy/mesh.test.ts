import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { beforeAll, describe, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../test/mesh-certificates.ts";
import {
  connectPlain,
  ending,
  type LogLine,
  readAll,
  refusals,
  startProxy,
  startServer,
} from "../test/mesh-proxies.ts";
import { findFastPath } from "./fast-path.ts";
import { publicWay } from "./pump.ts";
import { carryBy } from "./splice.ts";

/** A client, its mesh proxy, mutual TLS, the application's mesh proxy, the application. */
const EGRESS = "127.75.0.1";
const INGRESS = "127.75.0.2";
const APPLICATION = "127.75.0.3";

let mesh: Mesh;
let client: Workload;
let server: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  client = await mesh.issue({ sans: ["client"] });
  server = await mesh.issue({ sans: ["server"] });
});

async function startMesh(application: (socket: Socket) => void): Promise<{ port: number; lines: () => LogLine[] }> {
  const port = await startServer(APPLICATION, application);
  const ingress = await startProxy(mesh, server, {
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: INGRESS,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${port}`,
  });
  const egress = await startProxy(mesh, client, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${EGRESS}:${port}#${INGRESS}:${port}#server`,
  });
  return { port, lines: () => [...refusals(ingress), ...refusals(egress)] };
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Sends a little, and has it back: the connection stands all the way. */
async function ping(socket: Socket): Promise<void> {
  socket.write("ping");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(String(answer)).toBe("ping");
}

describe.each(["the fast path", "the public interface"])("by %s", (way) => {
  beforeAll(async () => carryBy((way === "the fast path" ? await findFastPath() : undefined) ?? publicWay));

  test("what is sent is echoed", async () => {
    const { port, lines } = await startMesh((socket) => void socket.pipe(socket));
    const socket = connectPlain(EGRESS, port);
    await ping(socket);
    socket.end();
    expect(await readAll(socket)).toHaveLength(0);
    expect(lines()).toEqual([]);
  });

  test("the application may speak first", async () => {
    const { port } = await startMesh((socket) => void socket.end("greeting"));
    expect(String(await readAll(connectPlain(EGRESS, port)))).toBe("greeting");
  });

  test("each direction ends by itself, with all its bytes", async () => {
    const request = randomBytes(12_000_000);
    const response = randomBytes(13_000_000);
    let received = "";
    const { port, lines } = await startMesh((socket) => {
      // The application answers only when the client's direction has ended.
      void readAll(socket).then((bytes) => {
        received = sha256(bytes);
        socket.end(response);
      });
    });
    const socket = connectPlain(EGRESS, port);
    socket.end(request);
    expect(sha256(await readAll(socket))).toBe(sha256(response));
    expect(received).toBe(sha256(request));
    expect(lines()).toEqual([]);
  });

  test("the application's direction may end first", async () => {
    const request = randomBytes(12_000_000);
    const received = Promise.withResolvers<string>();
    const { port } = await startMesh((socket) => {
      socket.end("go on");
      void readAll(socket).then((bytes) => received.resolve(sha256(bytes)));
    });
    const socket = connectPlain(EGRESS, port);
    expect(String(await readAll(socket))).toBe("go on");
    socket.end(request);
    expect(await received.promise).toBe(sha256(request));
  });

  test("bytes go both ways at once", async () => {
    const { port } = await startMesh((socket) => void socket.pipe(socket));
    const bytes = randomBytes(20_000_000);
    const socket = connectPlain(EGRESS, port);
    socket.end(bytes);
    expect(sha256(await readAll(socket))).toBe(sha256(bytes));
  });

  test("an application that does not read stops the sender, and loses nothing", async () => {
    const bytes = randomBytes(150_000_000);
    const accepted = Promise.withResolvers<Socket>();
    const { port } = await startMesh((socket) => accepted.resolve(socket));
    const socket = connectPlain(EGRESS, port);
    let sent = 0;
    const send = (): void => {
      if (sent === bytes.length) socket.end();
      else socket.write(bytes.subarray(sent, (sent += 500_000)), send);
    };
    send();
    const application = await accepted.promise;
    // The sender stands still when the kernel's buffers of three connections, and those of the proxies, are full.
    let before = -1;
    const stands = (): boolean => before === (before = sent);
    await expect.poll(stands, { interval: 500, timeout: 20_000 }).toBe(true);
    expect(sent).toBeLessThan(bytes.length / 2);
    expect(sha256(await readAll(application))).toBe(sha256(bytes));
  });

  test("a reset by the application is a reset for the client, and no other connection notices", async () => {
    const { port, lines } = await startMesh((socket) => {
      socket.on("data", (chunk) => (String(chunk) === "die" ? socket.resetAndDestroy() : socket.write(chunk)));
    });
    const other = connectPlain(EGRESS, port);
    await ping(other);
    const socket = connectPlain(EGRESS, port);
    await ping(socket);
    socket.write("die");
    expect(await ending(socket)).toBe("ECONNRESET");
    await ping(other);
    expect(lines().map(({ code }) => code)).toEqual(["connection_broken", "connection_broken"]);
  });

  test("a reset by the client is a reset for the application", async () => {
    const end = Promise.withResolvers<string>();
    const { port } = await startMesh((socket) => {
      socket.on("data", (chunk) => socket.write(chunk));
      void ending(socket).then(end.resolve);
    });
    const socket = connectPlain(EGRESS, port);
    await ping(socket);
    socket.resetAndDestroy();
    expect(await end.promise).toBe("ECONNRESET");
  });
});
