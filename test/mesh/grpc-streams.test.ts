import { Client, credentials, Server, type ServerDuplexStream, ServerCredentials } from "@grpc/grpc-js";
import { once } from "node:events";
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

const SUBNET = "127.77.10";
const SERVER = "127.77.10.4";
const PATH = "/test.Echo/Stream";
const same = (bytes: Buffer): Buffer => bytes;

/** A gRPC server that sends back every message of a stream, and after the client's last one a farewell. */
async function startServer(): Promise<number> {
  const port = await freePort(SERVER);
  const server = new Server();
  const definition = {
    path: PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  server.addService(
    { stream: definition },
    {
      stream(call: ServerDuplexStream<Buffer, Buffer>) {
        call.on("data", (message: Buffer) => call.write(message));
        call.on("end", () => {
          call.write(Buffer.from("farewell"));
          call.end();
        });
      },
    },
  );
  await new Promise((resolve) => server.bindAsync(`${SERVER}:${port}`, ServerCredentials.createInsecure(), resolve));
  onTestFinished(() => server.forceShutdown());
  return port;
}

test("gRPC streams go both ways, many on one connection, each with its own end", async () => {
  const grpc = await startServer();
  const { port } = await startThroughMesh({
    subnet: SUBNET,
    // The application's port leads to the gRPC server.
    application: (socket) => {
      const server = connect({ host: SERVER, port: grpc, allowHalfOpen: true });
      server.on("error", () => socket.destroy());
      socket.pipe(server).pipe(socket);
    },
  });
  const client = new Client(`${SUBNET}.1:${port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  const stream = async (name: string): Promise<string[]> => {
    const call = client.makeBidiStreamRequest(PATH, same, same);
    const messages: string[] = [];
    call.on("data", (message: Buffer) => messages.push(String(message)));
    for (let i = 0; i < 20; i++) {
      call.write(Buffer.from(`${name}-${i}`));
      await once(call, "data");
    }
    call.end();
    await once(call, "end");
    return messages;
  };
  const names = ["a", "b", "c", "d"];
  const received = await Promise.all(names.map(stream));
  const sent = names.map((name) => [...Array.from({ length: 20 }, (_, i) => `${name}-${i}`), "farewell"]);
  expect(received).toEqual(sent);
});
