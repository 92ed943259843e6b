import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  type LogLine,
  refusals,
  startLiveProxy,
  startServer,
} from "../mesh-proxies.ts";
import { ONLY_NATIVE } from "../ways.ts";
import { CONTENT, type RecordWriter, recordWriter } from "./attacks/traffic-secret.ts";

/** What a client of the mesh may say in TLS after its handshake, and what it may not. */

const PROXY = "127.181.3.1";
const APPLICATION = "127.181.3.2";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

interface Client {
  readonly writer: RecordWriter;
  /** Below TLS. */
  readonly transport: Socket;
  /** How its own connection ends. */
  readonly cutOff: Promise<string>;
  /** What the application has received. */
  readonly received: () => Buffer;
  /** How its connection to the application ends. */
  readonly end: Promise<string>;
  readonly lines: readonly LogLine[];
}

async function connect(variables: Readonly<Record<string, string>> = {}): Promise<Client> {
  const chunks: Buffer[] = [];
  const end = Promise.withResolvers<string>();
  const port = await startServer(APPLICATION, (socket) => {
    socket.on("data", (chunk: Buffer) => void chunks.push(chunk));
    void ending(socket).then(end.resolve);
    socket.write("welcome");
  });
  const { lines } = await startLiveProxy(mesh, workload, { ...bindIngress(PROXY, APPLICATION, port), ...variables });
  const transport = connectPlain(PROXY, port);
  const secure = connectSecurely(mesh, workload, { socket: transport, ciphers: "TLS_AES_256_GCM_SHA384" });
  const [writer] = await Promise.all([recordWriter(secure), once(secure, "data")]);
  return { writer, transport, cutOff: ending(secure), received: () => Buffer.concat(chunks), end: end.promise, lines };
}

const data = (writer: RecordWriter, content: Buffer | string): Buffer =>
  writer.record(CONTENT.applicationData, Buffer.from(content));

const ALERT = 21;
const CLOSE_NOTIFY = Buffer.from([1, 0]);
/** RFC 8446 §6.1: a warning, and nothing that ends anything. */
const USER_CANCELED = Buffer.from([1, 90]);

test("records of every size are carried", async () => {
  const { writer, transport, received, end, lines } = await connect();
  const sizes = Array.from({ length: 16_384 }, (_, index) => index + 1).filter(
    (size) => size < 64 || size > 16_320 || size % 101 === 0,
  );
  const contents = sizes.map((size) => Buffer.alloc(size, size));
  for (const content of contents) transport.write(data(writer, content));
  transport.write(writer.record(ALERT, CLOSE_NOTIFY));
  expect(await end).toBe("clean");
  expect(received().equals(Buffer.concat(contents))).toBe(true);
  expect(refusals(lines)).toEqual([]);
});

test("a record without content is nothing, and data behind the end is none", async () => {
  const { writer, transport, received, end, lines } = await connect();
  for (const content of ["", "one, ", "", "", "two", ""]) transport.write(data(writer, content));
  transport.write(Buffer.concat([writer.record(ALERT, CLOSE_NOTIFY), data(writer, "three")]));
  expect(await end).toBe("clean");
  expect(String(received())).toBe("one, two");
  expect(refusals(lines)).toEqual([]);
});

test("a client may change its keys, and have the proxy change its own", async () => {
  const { writer, transport, cutOff, received, end, lines } = await connect();
  for (let times = 0; times < 100; times++) transport.write(Buffer.concat([writer.keyUpdate(), data(writer, "x")]));
  transport.write(writer.record(ALERT, CLOSE_NOTIFY));
  expect(await end).toBe("clean");
  expect(received()).toHaveLength(100);
  // With the keys of the last time: the application's side ended cleanly.
  expect(await cutOff).toBe("clean");
  expect(refusals(lines)).toEqual([]);
});

/** Of a handshake message, after its header. */
const message = (type: number, length: number): Buffer =>
  Buffer.concat([Buffer.from([type, length >> 16, (length >> 8) & 0xff, length & 0xff]), Buffer.alloc(length)]);

const REFUSED: Readonly<Record<string, (writer: RecordWriter) => readonly Buffer[]>> = {
  "a record that is longer than any": (writer) => [data(writer, Buffer.alloc(16_385))],
  "a record that nobody sealed": () => [Buffer.concat([Buffer.from([23, 3, 3, 0, 40]), Buffer.alloc(40)])],
  "data in the clear": () => [Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  "a change of ciphers after the handshake": () => [Buffer.from([20, 3, 3, 0, 1, 1])],
  "a record of a type that there is not": (writer) => [writer.record(99, Buffer.from("?"))],
  "another first message": (writer) => [writer.record(CONTENT.handshake, message(1, 100))],
  "another certificate": (writer) => [writer.record(CONTENT.handshake, message(11, 100))],
  "another end of the handshake": (writer) => [writer.record(CONTENT.handshake, message(20, 48))],
  "a ticket, which only servers send": (writer) => [writer.record(CONTENT.handshake, message(4, 100))],
  "a change of keys that says neither yes nor no": (writer) => [
    writer.record(CONTENT.handshake, Buffer.from([24, 0, 0, 1, 7])),
  ],
  "data amid a message": (writer) => [
    writer.record(CONTENT.handshake, message(4, 100).subarray(0, 9)),
    data(writer, "x"),
  ],
  "forty records without content": (writer) => Array.from({ length: 40 }, () => data(writer, "")),
  "an alert that ends everything": (writer) => [writer.record(ALERT, Buffer.from([2, 40]))],
  "an alert of one byte": (writer) => [writer.record(ALERT, Buffer.from([1]))],
  "a thousand warnings": (writer) => Array.from({ length: 1_000 }, () => writer.record(ALERT, USER_CANCELED)),
};

describe("a client is cut off, and the application sees a reset after what came before:", () => {
  const cutOffBy = async (records: (typeof REFUSED)[string]): Promise<void> => {
    const { writer, transport, cutOff, received, end, lines } = await connect();
    transport.write(data(writer, "before"));
    await expect.poll(() => String(received())).toBe("before");
    transport.write(Buffer.concat(records(writer)));
    expect(await end).toBe("ECONNRESET");
    expect(await cutOff).not.toBe("clean");
    expect(String(received())).toBe("before");
    await expect.poll(() => refusals(lines).map(({ code }) => code)).toEqual(["tls_alert"]);
  };

  test.each(Object.entries(REFUSED))("%s", async (_, records) => cutOffBy(records));

  // OpenSSL takes any number of them; what they cost is in attacks.test.ts.
  test.skipIf(ONLY_NATIVE !== "")(`a thousand changes of keys and nothing else${ONLY_NATIVE}`, async () =>
    cutOffBy((writer) => Array.from({ length: 1_000 }, () => writer.keyUpdate())),
  );

  /** 2 × (5 + 2^14 + 2048): core/src/tls/channel.rs. OpenSSL keeps no more of a message that it does not expect. */
  const MOST_KEPT = 36_874;

  test("a message of 64 KiB in pieces of one byte, before so much of it is kept", async () => {
    const { writer, transport, end, lines } = await connect();
    const over = new AbortController();
    void end.then(() => over.abort());
    transport.write(writer.record(CONTENT.handshake, Buffer.from([4, 0, 0xff, 0xff])));
    let sent = 0;
    while (!over.signal.aborted && sent < 2 * MOST_KEPT) {
      const pieces = Buffer.concat(Array.from({ length: 40 }, () => writer.record(CONTENT.handshake, Buffer.alloc(1))));
      transport.write(pieces);
      sent += pieces.length;
      await sleep(2);
    }
    expect(await end).toBe("ECONNRESET");
    // What was on its way when it ended, too.
    expect(sent).toBeLessThan(MOST_KEPT + 8_192);
    await expect.poll(() => refusals(lines).map(({ code }) => code)).toEqual(["tls_alert"]);
  });
});

test("a client of TLS 1.2 may not begin anew", async () => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { lines } = await startLiveProxy(mesh, workload, {
    ...bindIngress(PROXY, APPLICATION, port),
    CONTRAST_TLS_MIN: "1.2",
  });
  const socket = connectSecurely(mesh, workload, { host: PROXY, port, maxVersion: "TLSv1.2" });
  await once(socket, "secureConnect");
  const end = ending(socket);
  const renewed = Promise.withResolvers<string>();
  socket.renegotiate({}, (error) => renewed.resolve(error === null ? "renewed" : "refused"));
  expect(await Promise.race([renewed.promise, end.then(() => "refused")])).toBe("refused");
  expect(await end).not.toBe("clean");
  await expect.poll(() => refusals(lines).length).toBe(1);
});
