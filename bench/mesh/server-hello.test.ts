import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { readServerHello, type ServerHello } from "./server-hello.ts";

/** OpenSSL's handshakes, read on their way. */
async function seen(options: { groups: string; session?: Buffer }): Promise<{ hello: ServerHello; session: Buffer }> {
  const { host, port, meshCa } = await server;
  let bytes = Buffer.alloc(0);
  const relay = createServer((before) => {
    const behind = connect(port, host);
    behind.on("data", (chunk: Buffer) => (bytes = Buffer.concat([bytes, chunk])));
    for (const socket of [before, behind]) socket.on("error", () => {});
    before.pipe(behind);
    behind.pipe(before);
  });
  relay.listen(0, "127.76.60.4");
  await once(relay, "listening");
  const client = connectTls({
    host: "127.76.60.4",
    port: (relay.address() as AddressInfo).port,
    ca: meshCa,
    servername: "server",
    ecdhCurve: options.groups,
    ...(options.session === undefined ? {} : { session: options.session }),
  });
  client.resume();
  // The ticket comes behind the handshake, and there is another one only where none was shown.
  const [session] = options.session === undefined ? ((await once(client, "session")) as [Buffer]) : [options.session];
  if (readServerHello(bytes) === undefined) await once(client, "secureConnect");
  client.destroy();
  relay.close();
  const whole = [...bytes.keys()].find((length) => readServerHello(bytes.subarray(0, length)) !== undefined);
  const hello = readServerHello(bytes.subarray(0, whole));
  if (hello === undefined) throw new Error("no ServerHello was read");
  return { hello, session };
}

const server = (async () => {
  const mesh = await createMesh();
  const { certChain, key } = await mesh.issue({ sans: ["server"] });
  const listener = createTlsServer({ cert: certChain, key, ecdhCurve: "P-256:X25519" }, (socket) =>
    socket.on("error", () => {}),
  );
  listener.listen(0, "127.76.60.5");
  await once(listener, "listening");
  return { host: "127.76.60.5", port: (listener.address() as AddressInfo).port, meshCa: mesh.meshCa, listener };
})();

test("a full handshake and a resumed one are told apart, behind a HelloRetryRequest too", async () => {
  onTestFinished(async () => void (await server).listener.close());
  const full = await seen({ groups: "X25519" });
  expect(full.hello).toEqual({ version: "1.3", cipher: "AES-256-GCM", group: "X25519", isResumed: false });
  const resumed = await seen({ groups: "X25519", session: full.session });
  expect(resumed.hello.isResumed).toBe(true);
  const retried = await seen({ groups: "P-384:P-256" });
  expect(retried.hello).toMatchObject({ group: "P-256", isResumed: false });
});
